// The selects for threads and wasm build, and a note if the device supports less.
//
//     <div class="settings" id="settings"></div>
//
//     requireSimd();                                        // throws an Error fit for the visitor
//     const controls = new EngineControls(element, () => reload());
//     const model = await load(url, controls.options);      // {} until the visitor chooses
//     controls.show(model);                                 // what the engine really uses; enables the selects

import { MAX_THREADS, support } from '../../web/src/index.js';

// One line each: base.css keeps room for that. docs/web.md says more.
const NOT_ISOLATED = 'One thread: the page is not cross-origin isolated.';
const NO_RELAXED = 'This browser has no relaxed SIMD.';

/** Throws if tulle cannot run in this browser. */
export function requireSimd() {
  if (support().simd) return;
  throw new Error(
    'This browser has no WebAssembly SIMD, which tulle needs. ' +
      'Chrome and Edge have it since version 91, Firefox since 89, Safari since 16.4.',
  );
}

export class EngineControls {
  #threads = document.createElement('select');
  #variant = document.createElement('select');
  /** @type {{ threads?: number, variant?: 'simd' | 'relaxed' }} */
  #chosen = {};

  /**
   * Fills an element with the selects and a note.
   * @param {HTMLElement} place with the class `settings`, which keeps room for them
   * @param {() => void} onChange called when the visitor has chosen; read `options` then
   */
  constructor(place, onChange) {
    const { threads, relaxedSimd } = support();
    const most = threads ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
    this.#threads.append(...Array.from({ length: most }, (_, i) => new Option(String(i + 1))));
    this.#variant.append(new Option('relaxed SIMD', 'relaxed'), new Option('SIMD', 'simd'));
    this.#variant.options[0].disabled = !relaxedSimd;
    this.#variant.value = relaxedSimd ? 'relaxed' : 'simd';
    this.#threads.id = 'threads';
    this.#variant.id = 'variant';
    this.disabled = true;
    for (const select of [this.#threads, this.#variant]) {
      select.addEventListener('change', () => {
        this.#chosen = {
          threads: Number(this.#threads.value),
          variant: this.#variant.value === 'simd' ? 'simd' : 'relaxed',
        };
        onChange();
      });
    }
    const note = document.createElement('p');
    note.className = 'settings-note quiet';
    note.textContent = !threads ? NOT_ISOLATED : relaxedSimd ? '' : NO_RELAXED;
    place.replaceChildren(labelled('Threads', this.#threads), labelled('Build', this.#variant), note);
  }

  /** Options for tulle's load(): the visitor's choice, empty before there is one. */
  get options() {
    return this.#chosen;
  }

  /** Shows the threads and variant in use. @param {{ threads: number, variant: string }} engine */
  show({ threads, variant }) {
    this.#threads.value = String(threads);
    this.#variant.value = variant;
    this.disabled = false;
  }

  /** @param {boolean} disabled */
  set disabled(disabled) {
    this.#threads.disabled = this.#variant.disabled = disabled;
  }
}

/**
 * The threads and variant of a model, in words.
 * @param {{ threads: number, variant: string }} model
 */
export function describeEngine({ threads, variant }) {
  return `${threads} ${threads === 1 ? 'thread' : 'threads'}, ${variant}`;
}

/**
 * @param {string} name
 * @param {HTMLSelectElement} select
 */
function labelled(name, select) {
  const label = document.createElement('label');
  label.append(`${name} `, select);
  return label;
}
