// In a document: a button at every code block that copies it, and the sidebar's place.

const sidebar = /** @type {HTMLElement} */ (document.querySelector('.sidebar'));
const current = /** @type {HTMLElement} */ (sidebar.querySelector('[aria-current]'));
sidebar.scrollTop = current.offsetTop - sidebar.clientHeight / 3;
sidebar.addEventListener('click', ({ target }) => {
  if (target instanceof HTMLAnchorElement) sidebar.hidePopover(); // which a link within the page leaves open
});

for (const block of document.querySelectorAll('.code')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    const text = /** @type {HTMLElement} */ (block.querySelector('pre')).innerText;
    button.textContent = await navigator.clipboard.writeText(text.trimEnd()).then(() => 'Copied', () => 'Not allowed');
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
  block.append(button);
}
