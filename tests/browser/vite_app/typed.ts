// Type-checked against the package's .d.ts files, never run.

import { MAX_THREADS, Model, TulleError, VARIANTS, load, support } from 'tulle';
import type { InputInfo, LoadOptions, ModelInfo, ProfileRow, TensorInfo, Variant } from 'tulle';

export async function everything(file: File, image: ImageData, signal: AbortSignal): Promise<Float32Array> {
  const options: LoadOptions = {
    threads: Math.min(2, MAX_THREADS),
    variant: VARIANTS[0],
    worker: true,
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
    const rows: ProfileRow[] = await model.profile();
    console.log(variant, model.worker, info.fileBytes, model.notes.join());
    console.log(rows.map(({ op, kernel, ms, macs }) => [op, kernel, ms, macs]));
    return outputs[output.name];
  } catch (error) {
    if (error instanceof TulleError) console.log(error.message, error.cause);
    throw error;
  } finally {
    await model.close();
  }
}

// @ts-expect-error not a source
export const noSource = load(5);
// @ts-expect-error no such build
export const noVariant = load('m.tulle', { variant: 'avx' });
// @ts-expect-error not an input
export const noInput = (model: Model) => model.run([1, 2, 3]);
