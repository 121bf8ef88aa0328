// The processor's worker: frames go in, the network and the compositor run in this thread, and frames come out.
//
// Nothing queues up here. A track's frames are read one at a time, and while one is worked on, the browser keeps the newest
// only and closes those before it.

import { TulleError, messageOf } from '../errors.js';
import { readPixels } from '../pictures.js';
import { answerCalls } from '../worker_calls.js';
import { Compositor } from './compositor.js';
import { Held, readInto, toPixels, toVideoFrame } from './frames.js';
import { PAUSE, START, after, average, isDue, load } from './pacing.js';

/**
 * @typedef {import('./index.js').Effect} Effect
 * @typedef {{ effect: Effect, strength: number, colour: [number, number, number] }} Look
 * @typedef {{ frames: number, fresh: number, fps: number, every: number, load: number, width: number, height: number,
 *   ms: Times, mean: Times, open: number, memoryBytes: number }} WorkerStats
 * @typedef {import('./index.js').StageTimes} Times
 * @typedef {{ id: number, readable?: ReadableStream<VideoFrame>, writable?: WritableStream<VideoFrame>,
 *   track?: MediaStreamTrack, look: Look }} AttachArgs streams, or a track to make them of here
 */

const MODEL = new URL('../../models/selfie_segmentation.tulle', import.meta.url).href;

/** Milliseconds from one report to the page to the next. */
const REPORT = 500;

/** So many unreadable frames in a row are skipped: what the track shows stands still for a second. */
const MOST_FAILED = 30;

/** @type {Compositor} */
let compositor;
/** @type {Look} */
let look = { effect: 'blur', strength: 0.5, colour: [0, 0, 0] };
let pace = START;
/** The frame before: milliseconds, pixels. */
let before = { time: NaN, width: 0, height: 0 };
const held = new Held();
let ms = unknown();
let mean = unknown();
let memoryBytes = 0;
let counts = { frames: 0, fresh: 0 };
/** When the last frames were done, for the frame rate. @type {number[]} */
let done = [];

/** @returns {Times} */
function unknown() {
  return { copy: NaN, scale: NaN, network: NaN, mask: NaN, composite: NaN, hand: NaN };
}

/** The track that is being processed. @type {{ id: number, stop: () => void } | undefined} */
let current;
/** @type {Promise<unknown>} */
let turn = Promise.resolve();

/**
 * One user of the compositor's memory at a time.
 * @template T
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
function inTurn(action) {
  const result = turn.then(action);
  turn = result.catch(() => {}); // the caller gets the error
  return result;
}

// ---- one frame ----

/**
 * Puts the person in a frame before another background.
 * @template T
 * @param {import('../pictures.js').Sendable} source not closed here
 * @param {{ time: number, skipped?: number }} when milliseconds; frames between the one before and this that were dropped
 * @param {Look} look
 * @param {boolean} paced whether the mask of a frame before may serve
 * @param {(result: ReturnType<Compositor['run']>, taken: import('./frames.js').Taken) => T | Promise<T>} use takes the
 *   result out of the compositor's memory
 * @returns {Promise<T>}
 */
async function process(source, { time, skipped = 0 }, look, paced, use) {
  const start = performance.now();
  const taken = await readInto(compositor, source);
  const { width, height } = taken;
  const copied = performance.now();
  const passed = time - before.time;
  const follows = width === before.width && height === before.height && (!paced || (passed > 0 && passed < PAUSE));
  if (!follows) {
    compositor.reset(); // the mask before is of another scene
    pace = { ...pace, served: Infinity };
  }
  before = { time, width, height };
  const fresh = !paced || isDue(pace);
  const result = compositor.run({ ...look, fresh });
  const composed = performance.now();
  const used = await use(result, taken);
  const end = performance.now();
  const network = fresh ? result.ms.network : 0;
  if (paced) {
    pace = after(pace, {
      network: fresh ? network : undefined, rest: end - start - network, interval: follows ? passed / (1 + skipped) : undefined,
    });
  }
  counts.frames += 1;
  counts.fresh += Number(fresh);
  done.push(end);
  const { input: scale, mask, composite } = result.ms;
  ms = { copy: copied - start, scale, network: fresh ? network : ms.network, mask, composite, hand: end - composed };
  memoryBytes = result.bytes.buffer.byteLength;
  for (const stage of /** @type {(keyof Times)[]} */ (Object.keys(ms))) mean[stage] = average(mean[stage], ms[stage]);
  return used;
}

/** @returns {WorkerStats} */
function stats() {
  const now = performance.now();
  done = done.filter((time) => time > now - 2000);
  const span = (done.at(-1) ?? 0) - (done[0] ?? 0);
  return {
    ...counts,
    fps: span > 0 ? (1000 * (done.length - 1)) / span : 0,
    every: pace.every,
    load: load(pace, pace.every),
    width: before.width,
    height: before.height,
    ms,
    mean,
    open: held.count,
    memoryBytes,
  };
}

/** What averages and masks belong to has changed. */
function startAnew() {
  pace = START;
  before = { time: NaN, width: 0, height: 0 };
  [ms, mean] = [unknown(), unknown()];
  counts = { frames: 0, fresh: 0 };
  done = [];
  compositor.reset();
}

// ---- a track ----

/**
 * Carries frames from a track's stream to another's until either ends.
 * @param {number} id
 * @param {ReadableStreamDefaultReader<VideoFrame>} reader
 * @param {WritableStreamDefaultWriter<VideoFrame>} writer
 */
async function carry(id, reader, writer) {
  const report = setInterval(() => self.postMessage({ event: 'stats', id, stats: stats() }), REPORT);
  /** @type {unknown} */
  let trouble;
  let failed = 0; // frames, one after the other
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const frame = held.take(value);
      try {
        await inTurn(() => pass(frame, writer));
        failed = 0;
      } catch (error) {
        failed += 1; // a camera gives broken frames now and then
        if (!(error instanceof TulleError) || failed > MOST_FAILED) throw error;
      } finally {
        held.close(frame);
      }
    }
  } catch (error) {
    trouble = error;
  }
  clearInterval(report);
  await Promise.allSettled([reader.cancel(), writer.close()]);
  if (current?.id === id) current = undefined;
  self.postMessage({ event: 'stats', id, stats: stats() });
  self.postMessage({ event: 'ended', id, ...(trouble === undefined ? {} : { error: messageOf(trouble) }) });
}

/**
 * @param {VideoFrame} frame
 * @param {WritableStreamDefaultWriter<VideoFrame>} writer
 */
async function pass(frame, writer) {
  const write = async (/** @type {VideoFrame} */ out) => {
    held.take(out);
    try {
      await writer.write(out);
    } catch (error) {
      out.close();
      throw error;
    } finally {
      held.give(out);
    }
  };
  if (look.effect !== 'none') {
    return process(frame, { time: frame.timestamp / 1000 }, look, true, (result, { init }) => write(toVideoFrame(result, init)));
  }
  before = { time: NaN, width: frame.displayWidth, height: frame.displayHeight };
  counts.frames += 1;
  done.push(performance.now());
  return write(frame.clone());
}

/** @typedef {{ new (init: { track: MediaStreamTrack, maxBufferSize?: number }): { readable: ReadableStream<VideoFrame> } }} ProcessorClass */
/** @typedef {{ new (): { writable: WritableStream<VideoFrame>, track: MediaStreamTrack } }} GeneratorClass */

/** Classes that Safari has in workers only. */
const { MediaStreamTrackProcessor, VideoTrackGenerator } =
  /** @type {{ MediaStreamTrackProcessor?: ProcessorClass, VideoTrackGenerator?: GeneratorClass }} */ (
    /** @type {unknown} */ (self));

// ---- what the page calls ----

/** @type {Record<string, (args: any) => any>} */
const calls = {
  /** @param {{ model?: string | Blob | ArrayBuffer | ArrayBufferView, variant: 'simd' | 'relaxed', threads: number }} args */
  async create({ model = MODEL, variant, threads }) {
    compositor = await Compositor.create(model, { variant, threads });
    return { makesTracks: Boolean(MediaStreamTrackProcessor && VideoTrackGenerator), notes: compositor.model.notes };
  },

  /** Begins with a track, in place of the one before. @param {AttachArgs} args */
  attach({ id, readable, writable, track, look: first }) {
    look = first;
    current?.stop();
    /** @type {MediaStreamTrack | undefined} */
    let made;
    if (track) {
      if (!MediaStreamTrackProcessor || !VideoTrackGenerator) throw new TulleError('this browser makes no tracks in workers');
      const generator = new VideoTrackGenerator();
      readable = new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable;
      writable = generator.writable;
      made = generator.track;
    }
    if (!readable || !writable) throw new TulleError('there is nothing to process');
    const reader = readable.getReader();
    startAnew();
    current = {
      id,
      stop() {
        void reader.cancel().catch(() => {}); // read() then says that it is done
        track?.stop(); // the worker's own
      },
    };
    void carry(id, reader, writable.getWriter());
    return { track: made };
  },

  /** @param {{ id?: number }} args of the track; left out: whichever it is */
  detach({ id }) {
    if (id === undefined || current?.id === id) current?.stop();
  },

  /** Before the first frame of another scene. */
  reset() {
    startAnew();
  },

  /** @param {{ look: Look, picture?: ImageBitmap | null }} args */
  async update({ look: next, picture }) {
    if (picture !== undefined) await inTurn(() => setPicture(picture));
    look = next;
  },

  /**
   * One frame, apart from any track.
   * @param {{ frame: import('../pictures.js').Sendable, time: number, skipped: number, look: Look, paced: boolean, as: 'ImageData' | 'VideoFrame' }} args
   */
  frame({ frame, time, skipped, look, paced, as }) {
    held.take(frame);
    return inTurn(() => process(frame, { time, skipped }, look, paced, (result, { width, height, format, init }) => {
      if (as === 'ImageData' && format === 'RGBA') return { data: toPixels(result, width, height), width, height };
      return { frame: held.give(held.take(toVideoFrame(result, init))) };
    })).finally(() => held.close(frame)).then((made) => ({ ...made, stats: stats() }));
  },

  mask() {
    return inTurn(async () => compositor.mask());
  },

  async close() {
    current?.stop();
    await inTurn(async () => compositor?.close());
  },
};

/** @param {ImageBitmap | null} picture */
async function setPicture(picture) {
  if (!picture) return compositor.picture(null);
  const { width, height } = picture;
  const pixels = new Uint8ClampedArray(4 * width * height);
  await readPixels(picture, () => new Uint8Array(pixels.buffer));
  return compositor.picture(new ImageData(pixels, width, height));
}

answerCalls(calls, (result) => [result?.frame, result?.track, result?.data?.buffer].filter(Boolean));
