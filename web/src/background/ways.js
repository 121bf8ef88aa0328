// Three ways from a track to the worker and back to a track. The page takes the first that the browser has:
//
// - "streams" (Chromium): the browser's own streams of frames, made here and handed to the worker;
// - "worker" (Safari): the track itself is handed to the worker, which makes the streams and the other track;
// - "canvas" (Firefox): a video shows the track, its frames go to the worker one by one, and come back onto a canvas whose
//   stream is the other track. Browsers show no videos in hidden tabs, so that it stands still there.
//
// Only in the last one do frames pass through the page's own thread.

import { TulleError } from '../errors.js';
import { typeName } from '../types.js';

/** @typedef {'streams' | 'worker' | 'canvas'} Way How frames get to the worker and back. */

/**
 * A track that is being processed.
 * @typedef {object} Passage
 * @property {Way} way
 * @property {MediaStreamTrack} track what comes out
 * @property {() => number} dropped frames that came too late and were dropped, as far as the browser says
 * @property {() => void} stop
 */

/** @typedef {{ new (init: { track: MediaStreamTrack, maxBufferSize?: number }): { readable: ReadableStream<VideoFrame> } }} ProcessorClass */
/** @typedef {{ new (init: { kind: 'video' }): MediaStreamTrack & { writable: WritableStream<VideoFrame> } }} GeneratorClass */

/** What this window has. @returns {{ MediaStreamTrackProcessor?: ProcessorClass, MediaStreamTrackGenerator?: GeneratorClass }} */
const has = () => /** @type {any} */ (globalThis);

/**
 * @param {boolean} worker whether the worker can make tracks
 * @returns {Way}
 */
export function chooseWay(worker) {
  const { MediaStreamTrackProcessor, MediaStreamTrackGenerator } = has();
  if (MediaStreamTrackProcessor && MediaStreamTrackGenerator) return 'streams';
  return worker ? 'worker' : 'canvas';
}

/** @typedef {(call: string, args: object, transfer?: Transferable[]) => Promise<any>} Call */

/**
 * @param {MediaStreamTrack} track
 * @param {number} id
 * @param {object} look of the worker
 * @param {Call} call
 * @returns {Promise<Passage>}
 */
export async function throughStreams(track, id, look, call) {
  const { MediaStreamTrackProcessor, MediaStreamTrackGenerator } = has();
  if (!MediaStreamTrackProcessor || !MediaStreamTrackGenerator) throw new TulleError('this browser has no streams of frames');
  const { readable } = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 });
  const generator = new MediaStreamTrackGenerator({ kind: 'video' });
  await call('attach', { id, readable, writable: generator.writable, look },
    /** @type {Transferable[]} */ (/** @type {unknown} */ ([readable, generator.writable])));
  return { way: 'streams', ...ending(generator, id, call) };
}

/**
 * The worker gets a copy of the track, since what is handed over is lost here.
 * @param {MediaStreamTrack} track
 * @param {number} id
 * @param {object} look
 * @param {Call} call
 * @returns {Promise<Passage>}
 */
export async function throughWorker(track, id, look, call) {
  const copy = track.clone();
  const { track: made } = await call('attach', { id, track: copy, look }, /** @type {any} */ ([copy]));
  const passage = { way: /** @type {const} */ ('worker'), ...ending(made, id, call) };
  track.addEventListener('ended', passage.stop, { once: true });
  return passage;
}

/**
 * @param {MediaStreamTrack} track made of the worker's frames
 * @param {number} id
 * @param {Call} call
 */
function ending(track, id, call) {
  const stop = () => {
    void call('detach', { id }).catch(() => {}); // the worker may have died
    end(track);
  };
  return { track, dropped: () => 0, stop };
}

/** Ends a track, and says so, which stop() alone does not. @param {MediaStreamTrack} track */
function end(track) {
  if (track.readyState === 'ended') return;
  track.stop();
  track.dispatchEvent(new Event('ended'));
}

/**
 * @param {MediaStreamTrack} track
 * @param {(video: HTMLVideoElement, skipped: number) => Promise<VideoFrame | ImageData>} work one frame; so many before it
 *   were dropped
 * @param {(error?: unknown) => void} onEnd the track has ended, or a frame could not be worked on
 * @returns {Promise<Passage>}
 */
export async function throughCanvas(track, work, onEnd) {
  const video = document.createElement('video');
  video.muted = video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { alpha: false });
  if (!context || !canvas.captureStream) throw new TulleError('this browser makes no tracks: neither of streams nor of a canvas');
  const { width = 640, height = 480 } = track.getSettings();
  Object.assign(canvas, { width, height });
  context.fillRect(0, 0, width, height); // a canvas has a stream once something is drawn
  const [made] = canvas.captureStream().getVideoTracks();

  let stopped = false;
  let busy = false;
  let late = 0;
  let skipped = 0; // of these, since the last one that was worked on
  let request = 0;
  let clock = 0;
  const stop = () => {
    if (stopped) return;
    stopped = true;
    if (request) video.cancelVideoFrameCallback(request);
    if (clock) cancelAnimationFrame(clock);
    track.removeEventListener('ended', ended);
    video.srcObject = null;
    end(made);
  };
  const ended = () => {
    stop();
    onEnd();
  };
  track.addEventListener('ended', ended);

  const onFrame = async () => {
    if (busy || !video.videoWidth) { // 0 while a camera starts
      late += Number(busy);
      skipped += Number(busy);
      return;
    }
    busy = true;
    try {
      const working = work(video, skipped);
      skipped = 0;
      const frame = await working;
      if (!stopped) show(frame);
      if (typeName(frame) === 'VideoFrame') /** @type {VideoFrame} */ (frame).close();
    } catch (error) {
      if (!stopped) {
        stop();
        onEnd(error);
      }
    } finally {
      busy = false;
    }
  };
  /** @param {VideoFrame | ImageData} frame */
  const show = (frame) => {
    const isFrame = typeName(frame) === 'VideoFrame';
    const [w, h] = isFrame
      ? [/** @type {VideoFrame} */ (frame).displayWidth, /** @type {VideoFrame} */ (frame).displayHeight]
      : [/** @type {ImageData} */ (frame).width, /** @type {ImageData} */ (frame).height];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    if (isFrame) context.drawImage(/** @type {VideoFrame} */ (frame), 0, 0);
    else context.putImageData(/** @type {ImageData} */ (frame), 0, 0);
  };
  const watch = () => {
    if (stopped) return;
    if ('requestVideoFrameCallback' in video) {
      request = video.requestVideoFrameCallback(() => { watch(); void onFrame(); });
      return;
    }
    clock = requestAnimationFrame(() => { watch(); if (!busy) void onFrame(); });
  };
  await /** @type {HTMLVideoElement} */ (video).play().catch((error) => {
    stop();
    throw new TulleError(`the browser does not play the track: ${error.message}`, { cause: error });
  });
  watch();
  return { way: 'canvas', track: made, dropped: () => late, stop };
}
