// Small helpers for the pages' elements.

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`The page has no element #${id}.`);
  return node;
}

/**
 * @param {string} id
 * @returns {SVGSVGElement}
 */
export function svg(id) {
  return /** @type {SVGSVGElement} */ (/** @type {unknown} */ (element(id)));
}

/**
 * Writes a text into all elements with data-value="name".
 * @param {string} name
 * @param {string} text
 * @param {ParentNode} [within]
 */
export function setValue(name, text, within = document) {
  for (const node of within.querySelectorAll(`[data-value="${name}"]`)) node.textContent = text;
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Shows an error in the page's element #notice, which has role="alert".
 * @param {unknown} error
 */
export function showError(error) {
  const notice = element('notice');
  notice.textContent = messageOf(error);
  notice.hidden = false;
  console.error(error);
}

/**
 * A canvas's 2D context.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasRenderingContext2DSettings} [settings]
 */
export function context2d(canvas, settings) {
  const context = canvas.getContext('2d', settings);
  if (!context) throw new Error('This browser gives no 2D canvas, which the demo needs to read pictures.');
  return context;
}

/**
 * Fetches a picture in its own size.
 * @param {string | URL} url
 * @returns {Promise<ImageBitmap>}
 */
export async function fetchBitmap(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`The picture ${url} could not be loaded: HTTP ${response.status}.`);
  return createImageBitmap(await response.blob());
}

/**
 * The pixels of a picture, scaled to a model's input.
 * @param {ImageBitmap} bitmap
 * @param {number} width
 * @param {number} height
 */
export function pixelsOf(bitmap, width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = context2d(canvas, { willReadFrequently: true });
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Whether the visitor prefers reduced motion: then nothing moves by itself, and figures change once per second. */
export const calm = matchMedia('(prefers-reduced-motion: reduce)');

/** Milliseconds between updates of figures, so that they can be read. */
export const showEvery = () => (calm.matches ? 1000 : 250);
