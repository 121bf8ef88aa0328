// Facts about the visitor's device, which belong to figures measured on it, and copying those figures.

import { support } from '../../web/src/index.js';

/**
 * @returns {Record<string, string | number | boolean>} nothing that the browser does not tell every page
 */
export function deviceFacts() {
  const { relaxedSimd, threads } = support();
  return {
    browser: navigator.userAgent,
    processors: navigator.hardwareConcurrency,
    'relaxed SIMD': relaxedSimd,
    'cross-origin isolated': threads,
    date: new Date().toISOString().slice(0, 10),
  };
}

/**
 * A Markdown table.
 * @param {string[]} heads
 * @param {(string | number)[][]} rows
 */
export function markdownTable(heads, rows) {
  const line = (/** @type {(string | number)[]} */ cells) => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map((_, i) => (i ? '--:' : '---'))), ...rows.map(line)].join('\n');
}

/** The device as Markdown list. */
export function deviceLines() {
  return Object.entries(deviceFacts()).map(([name, value]) => `- ${name}: ${value}`).join('\n');
}

/**
 * Copies the text on a click and says so on the button.
 * @param {HTMLButtonElement} button
 * @param {() => string} text
 */
export function copyOnClick(button, text) {
  const caption = button.textContent;
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'The browser refused';
    }
    setTimeout(() => (button.textContent = caption), 2000);
  });
}
