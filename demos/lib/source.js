// Frames for the pages, from any source: camera, bundled clip, animation, the visitor's picture or video.
//
//   const source = new FrameSource({
//     fallback: { kind: 'clip', url: new URL('../clips/carphone.webm', import.meta.url), title: 'Clip' },
//     onChange: ({ title, note }) => say(note || title),
//   });
//   await source.open(source.fallback);
//   for await (const frame of source.frames()) await show(frame.image, frame.width, frame.height);
//
// open() may be called at any time, also while the loop runs, which continues with the new frames:
//   source.open({ kind: 'camera' })        refused or lost: `note` says why, and the fallback is shown
//   source.open({ kind: 'file', file })    rejects, with a message for the visitor, if it is not a picture or video
//   source.open({ kind: 'animation', ... }) moving pictures that the page draws itself
// acceptFiles() wires a file picker and drag and drop to it. Nothing leaves the device.

import { openAnimation, openCamera, openClip, openFile } from './media.js';

/** @typedef {import('./media.js').Medium} Medium */

/**
 * A source that the page brings along.
 * @typedef {{ kind: 'clip', url: string | URL, title: string }
 *   | { kind: 'animation' } & import('./media.js').Animation} Bundled
 */

/** @typedef {Bundled | { kind: 'camera', title?: string } | { kind: 'file', file: File }} Origin */

/**
 * @typedef {object} Frame
 * @property {HTMLCanvasElement} image the pixels, mirrored already if need be; the same canvas every time, overwritten
 *   only when the next frame is asked for
 * @property {number} width in pixels
 * @property {number} height
 * @property {boolean} mirrored whether left and right were exchanged, as is done for a camera that faces the visitor
 * @property {number} capture milliseconds that copying the frame took
 */

/**
 * @typedef {object} SourceInfo
 * @property {Medium['kind']} kind
 * @property {string} title
 * @property {number} width of its frames in pixels
 * @property {number} height
 * @property {boolean} mirrored
 * @property {string} note why this is shown instead of what was asked for; empty otherwise
 */

export class FrameSource {
  /** @type {Bundled} */
  fallback;
  #onChange;
  #maxSide;
  #canvas = document.createElement('canvas');
  #context;
  /** @type {Medium | undefined} */
  #medium;
  #unwatch = () => {};
  #fresh = false;
  #wake = () => {};
  #opening = 0;
  #playing = true;
  #closed = false;

  /**
   * @param {object} options
   * @param {Bundled} options.fallback shown if the camera is refused or lost and there is no other source
   * @param {(info: SourceInfo) => void} [options.onChange] called whenever frames come from somewhere else
   * @param {number} [options.maxSide] larger frames are scaled to this length of their longer side, in pixels
   * @param {boolean} [options.willReadFrequently] keep frames in memory rather than on the GPU: for getImageData, or
   *   drawing on canvases with that option; false for WebGL
   */
  constructor({ fallback, onChange = () => {}, maxSide = 1280, willReadFrequently = false }) {
    this.fallback = fallback;
    this.#onChange = onChange;
    this.#maxSide = maxSide;
    const context = this.#canvas.getContext('2d', { alpha: false, willReadFrequently });
    if (!context) throw new Error('This browser gives no 2D canvas, which the demo needs to read pictures.');
    this.#context = context;
  }

  /**
   * Switches to another source of frames. Of several simultaneous calls the last one counts.
   * @param {Origin} origin
   * @returns {Promise<void>} rejects with an Error fit for the visitor, and keeps the current source. If the camera is
   *   not available, this only rejects if the fallback is not available either.
   */
  async open(origin) {
    const turn = ++this.#opening;
    let note = '';
    let medium;
    try {
      medium = await openMedium(origin);
    } catch (error) {
      if (origin.kind !== 'camera') throw error;
      medium = this.#medium ?? (await openMedium(this.fallback));
      note = `${messageOf(error)} Shown instead: ${medium.title}.`;
    }
    if (turn !== this.#opening || this.#closed) {
      if (medium !== this.#medium) medium.close();
      return;
    }
    if (medium !== this.#medium) this.#switchTo(medium);
    this.#onChange({ ...this.#info(medium), note });
  }

  /** The current source; undefined before the first open(). */
  get info() {
    return this.#medium && this.#info(this.#medium);
  }

  /**
   * The frames, the newest one each time; a loop that is slower than the source skips some. Waits while paused, while
   * nothing is open yet, and while the page is hidden. Ends with close(). One loop at a time.
   * @returns {AsyncGenerator<Frame, void, void>}
   */
  async *frames() {
    while (!this.#closed) {
      if (!this.#fresh || !this.#medium) {
        await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
        continue;
      }
      this.#fresh = false;
      yield this.#capture(this.#medium);
    }
  }

  pause() {
    this.#playing = false;
    this.#medium?.pause();
  }

  play() {
    this.#playing = true;
    this.#medium?.play();
    this.#refresh();
  }

  /** Yields the current frame once more, also while paused: for a page whose settings have changed. */
  again() {
    this.#refresh();
  }

  get playing() {
    return this.#playing;
  }

  /** Frees the camera or video, and ends the loop over frames(). */
  close() {
    this.#closed = true;
    this.#unwatch();
    this.#medium?.close();
    this.#medium = undefined;
    this.#wake();
  }

  /** @param {Medium} medium */
  #switchTo(medium) {
    this.#unwatch();
    this.#medium?.close();
    this.#medium = medium;
    medium.onLost(() => {
      if (this.#medium === medium) this.#replaceLost(medium);
    });
    this.#unwatch = medium.watch(() => this.#playing && this.#refresh());
    if (!this.#playing) medium.pause();
    this.#refresh(); // one frame even if paused, so that there is something to see
  }

  /** @param {Medium} lost */
  async #replaceLost(lost) {
    const turn = ++this.#opening;
    const medium = await openMedium(this.fallback).catch(() => undefined);
    if (turn !== this.#opening || this.#closed || !medium) return medium?.close();
    this.#switchTo(medium);
    this.#onChange({ ...this.#info(medium), note: `${lost.title}: ended. Shown instead: ${medium.title}.` });
  }

  #refresh() {
    this.#fresh = true;
    this.#wake();
  }

  /** @param {Medium} medium */
  #info(medium) {
    const { kind, title, mirrored } = medium;
    return { kind, title, mirrored, ...this.#size(medium) };
  }

  /** @param {Medium} medium */
  #size(medium) {
    const { width, height } = medium.size();
    const scale = Math.min(1, this.#maxSide / Math.max(width, height));
    return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  }

  /**
   * @param {Medium} medium
   * @returns {Frame}
   */
  #capture(medium) {
    const start = performance.now();
    const { width, height } = this.#size(medium);
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
    this.#context.setTransform(medium.mirrored ? -1 : 1, 0, 0, 1, medium.mirrored ? width : 0, 0);
    medium.draw(this.#context, width, height);
    const capture = performance.now() - start;
    return { image: this.#canvas, width, height, mirrored: medium.mirrored, capture };
  }
}

/**
 * Lets the visitor choose or drop files, and opens them.
 * @param {FrameSource} source
 * @param {object} where
 * @param {HTMLInputElement} where.input a file input; `accept="image/*,video/*"`
 * @param {HTMLElement} where.area where files may be dropped; has the class `dropping` while one is held over it
 * @param {(error: unknown) => void} where.onError called when a file is no picture or video
 */
export function acceptFiles(source, { input, area, onError }) {
  const accept = (/** @type {File | undefined} */ file) => {
    if (file) source.open({ kind: 'file', file }).catch(onError);
  };
  input.addEventListener('change', () => {
    accept(input.files?.[0]);
    input.value = ''; // so that the same file can be chosen again
  });
  for (const kind of ['dragenter', 'dragover']) {
    area.addEventListener(kind, (event) => {
      event.preventDefault();
      area.classList.add('dropping');
    });
  }
  area.addEventListener('dragleave', (event) => {
    if (!area.contains(/** @type {Node | null} */ (event.relatedTarget))) area.classList.remove('dropping');
  });
  area.addEventListener('drop', (event) => {
    event.preventDefault();
    area.classList.remove('dropping');
    accept(event.dataTransfer?.files[0]);
  });
}

/**
 * @param {Origin} origin
 * @returns {Promise<Medium>}
 */
async function openMedium(origin) {
  switch (origin.kind) {
    case 'camera':
      return openCamera(origin.title);
    case 'clip':
      return openClip(origin.url, origin.title);
    case 'file':
      return openFile(origin.file);
    case 'animation':
      return openAnimation(origin);
  }
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
