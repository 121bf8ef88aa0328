// Type-checked against the package's .d.ts files, never run.

import { MAX_THREADS, Model, TulleError, VARIANTS, load, support } from 'tulle';
import { HAND_CONNECTIONS, HandTracker } from 'tulle/hands';
import { BackgroundProcessor } from 'tulle/background';
import type { BackgroundProcessorOptions, BackgroundStats, Effect, Mask } from 'tulle/background';
import type { Hand, HandTrackerOptions, HandTrackerResult } from 'tulle/hands';
import type { InputInfo, LoadOptions, ModelInfo, ProfileRow, RunOptions, TensorInfo, Variant } from 'tulle';

export async function everything(file: File, image: ImageData, signal: AbortSignal): Promise<Float32Array> {
  const options: LoadOptions = {
    threads: Math.min(2, MAX_THREADS),
    variant: VARIANTS[0],
    worker: 'auto',
    onProgress: ({ loaded, total }) => console.log(loaded / total),
    signal,
  };
  const model: Model = await load(support().threads ? file : new URL('https://example.org/m.tulle'), options);
  const input: Readonly<InputInfo> = model.inputs[0];
  const output: Readonly<TensorInfo> = model.outputs[0];
  const variant: Variant = model.variant;
  const info: ModelInfo = model.info;
  try {
    await model.run(image);
    await model.run(new Float32Array(3));
    const outputs = await model.run({ [input.name]: input.image ? image : new Float32Array(3) });
    const halves: Float32Array | undefined = outputs[output.name];
    const rows: ProfileRow[] = await model.profile();
    console.log(variant, model.worker, info.fileBytes, model.notes.join());
    console.log(rows.map(({ op, kernel, ms, macs }) => [op, kernel, ms, macs]));
    return halves ?? new Float32Array();
  } catch (error) {
    if (error instanceof TulleError) console.log(error.message, error.cause);
    throw error;
  } finally {
    await model.close();
  }
}

/** Indices into what has a known length, and outputs by names that the caller knows, are never undefined. */
export async function pictures(video: HTMLVideoElement, frame: VideoFrame, canvas: OffscreenCanvas, blob: Blob): Promise<number> {
  const model = await load<'boxes' | 'scores'>('detector.tulle');
  const [input] = model.inputs;
  if (!input.image) throw new Error(`${input.name} takes no pictures: ${input.shape.join()}`);
  const [, height, width]: readonly [1, number, number, 3] = input.shape;
  const options: RunOptions = { crop: { x: 0, y: 0, width, height }, rotation: 0.1, flip: true, fit: 'contain', border: 'edge' };
  for (const picture of [video, frame, canvas, blob, await createImageBitmap(video), new Uint8Array(3)]) {
    const { boxes, scores }: Record<'boxes' | 'scores', Float32Array> = await model.run(picture, { ...options, transfer: true });
    console.log(boxes.length, scores.length);
  }
  const { boxes } = await model.run({ [input.name]: frame }, options);
  const quantised = await load<'boxes', Int8Array>('quantised.tulle', { convert: { quantizedIo: true } });
  const { boxes: integers }: Record<'boxes', Int8Array> = await quantised.run(new Int8Array(3));
  console.log(integers.length, quantised.inputs[0].scale, quantised.outputs[0].zeroPoint, quantised.outputs[0].dtype === 'int8');
  return boxes.length;
}

export async function hands(video: HTMLVideoElement): Promise<string | undefined> {
  const tracker: HandTracker = await HandTracker.create({ maxHands: 1, smoothing: true, threads: 2 } satisfies HandTrackerOptions);
  const { hands, landmarks, times }: HandTrackerResult = await tracker.detect(video, performance.now(), { mirrored: true });
  const first: Hand | undefined = hands[0];
  console.log(landmarks.length, times.read, HAND_CONNECTIONS.length, tracker.variant);
  await tracker.close();
  return first?.handedness;
}

export async function background(track: MediaStreamTrack, picture: Blob): Promise<MediaStreamTrack> {
  const options: BackgroundProcessorOptions = { effect: 'blur', strength: 0.6, threads: 2, onError: (error) => console.log(error.message) };
  const processor: BackgroundProcessor = await BackgroundProcessor.create(options);
  const processed: MediaStreamTrack = await processor.process(track, { effect: 'colour', colour: [0, 128, 255] });
  await processor.update({ effect: 'picture', picture });
  const frame: VideoFrame = await processor.frame(document.createElement('video'), { paced: true });
  const image: ImageData = await processor.frame(new ImageData(4, 3));
  const mask: Mask = await processor.mask();
  const { networkEvery, ms, way }: BackgroundStats = processor.stats;
  const effect: Effect = processor.effect;
  console.log(frame.displayWidth, image.width, mask.data[0] ?? 0, networkEvery, ms.composite, way, effect);
  processor.stop();
  await processor.close();
  return processed;
}

// @ts-expect-error no such effect
export const noEffect = (processor: BackgroundProcessor) => processor.update({ effect: 'sepia' });
// @ts-expect-error no such option
export const noHands = HandTracker.create({ numHands: 2 });
// @ts-expect-error no such output
export const noOutput = async (model: Model<'boxes'>) => (await model.run(new Float32Array(3))).scores;
// @ts-expect-error not a fit
export const noFit = (model: Model, image: ImageData) => model.run(image, { fit: 'fill' });
// @ts-expect-error not a source
export const noSource = load(5);
// @ts-expect-error no such build
export const noVariant = load('m.tulle', { variant: 'avx' });
// @ts-expect-error not an input
export const noInput = (model: Model) => model.run([1, 2, 3]);
