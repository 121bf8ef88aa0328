"""What MediaPipe itself computes for models with its custom operators, which LiteRT's interpreter lacks.

    python tests/mediapipe_oracle.py face_landmark_with_attention.tflite

runs them in MediaPipe's own inference calculator (package mediapipe 0.10.14, not needed for the tests) and writes the
answers to tests/python/data/mediapipe.npz, which test_mediapipe_ops.py holds tulle against.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

ANSWERS = Path(__file__).parent / "python" / "data" / "mediapipe.npz"
# Window (h, w), stride (h, w) and padding (1 same, 2 valid) of pools that MaxUnpooling2D reverses.
POOLS = {
    "usual": ((8, 6), (2, 2), (2, 2), 2),
    "same": ((7, 5), (2, 2), (2, 2), 1),
    "oblong": ((9, 8), (3, 2), (3, 2), 1),
    "overlapping": ((8, 9), (3, 3), (2, 2), 1),
}


def pixels(height: int, width: int) -> np.ndarray:
    """The picture [height, width, 3], uint8, that every answer is for. Few values, so that windows have ties."""
    coarse = np.random.default_rng(height * 1000 + width).integers(0, 4, (height, width, 3))
    return (coarse * 85).astype(np.uint8)


def picture(height: int, width: int) -> np.ndarray:
    """The same as a model's input [1, height, width, 3], float32."""
    return (pixels(height, width) / np.float32(255)).astype(np.float32)[None]


def answers(name: str) -> list[np.ndarray]:
    """What MediaPipe computed for a model, its outputs flat."""
    with np.load(ANSWERS) as stored:
        return [stored[f"{name}_{i}"] for i in range(sum(key.startswith(f"{name}_") for key in stored))]


def pool_model(name: str) -> bytes:
    """A picture pooled with argmax, and unpooled."""
    from tflite_model import TfliteModel

    (height, width), kernel, strides, padding = POOLS[name]
    # TfLitePoolParams: padding, stride width and height, filter width and height, activation, computed padding.
    params = struct.pack("<6i4i", padding, strides[1], strides[0], kernel[1], kernel[0], 0, 0, 0, 0, 0)
    size = [-(-full // s) if padding == 1 else (full - k) // s + 1
            for full, k, s in zip((height, width), kernel, strides, strict=True)]  # fmt: skip
    model = TfliteModel()
    x = model.input((1, height, width, 3))
    small = (1, *size, 3)
    pooled, indices = model.op("MaxPoolingWithArgmax2D", [x], [small, small], custom=params)
    whole = (1, size[0] * kernel[0], size[1] * kernel[1], 3)
    return model.finish(pooled, model.op("MaxUnpooling2D", [pooled, indices], whole, custom=params))


def run(path: Path, picture: np.ndarray, outputs: int) -> list[np.ndarray]:
    """The outputs, flat, for a picture fed as pixel / 255, from MediaPipe's InferenceCalculatorCpu.

    Without XNNPACK, which has pools with argmax of its own: they choose another of equal values, and count differently
    than MediaPipe's unpooling, which it leaves alone.
    """
    import mediapipe

    height, width, _ = picture.shape
    numbers = range(outputs)
    graph = f"""
        input_stream: "image" {" ".join(f'output_stream: "floats{i}"' for i in numbers)}
        node {{ calculator: "ImageToTensorCalculator" input_stream: "IMAGE:image" output_stream: "TENSORS:input"
          options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
            output_tensor_width: {width} output_tensor_height: {height} keep_aspect_ratio: false
            output_tensor_float_range {{ min: 0 max: 1 }} }} }} }}
        node {{ calculator: "TfLiteCustomOpResolverCalculator" output_side_packet: "OP_RESOLVER:resolver" }}
        node {{ calculator: "InferenceCalculatorCpu" input_side_packet: "OP_RESOLVER:resolver"
          input_stream: "TENSORS:input" output_stream: "TENSORS:all"
          options {{ [mediapipe.InferenceCalculatorOptions.ext] {{
            model_path: "{path}" delegate {{ tflite {{}} }} }} }} }}
        node {{ calculator: "SplitTensorVectorCalculator" input_stream: "all"
          {" ".join(f'output_stream: "tensor{i}"' for i in numbers)}
          options {{ [mediapipe.SplitVectorCalculatorOptions.ext] {{
            {" ".join(f"ranges: {{ begin: {i} end: {i + 1} }}" for i in numbers)} }} }} }}
        {
        " ".join(
            f'''node {{ calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:tensor{i}"
                              output_stream: "FLOATS:floats{i}" }}'''
            for i in numbers
        )
    }"""
    calculators = mediapipe.CalculatorGraph(graph_config=graph)
    found: dict[str, np.ndarray] = {}
    for i in numbers:
        calculators.observe_output_stream(
            f"floats{i}",
            lambda name, packet: found.update({name: np.float32(mediapipe.packet_getter.get_float_list(packet))}),
        )
    calculators.start_run()
    image = mediapipe.packet_creator.create_image_frame(image_format=mediapipe.ImageFormat.SRGB, data=picture)
    calculators.add_packet_to_input_stream("image", image.at(0))
    calculators.close_all_packet_sources()
    calculators.wait_until_done()
    return [found[f"floats{i}"] for i in numbers]


def main() -> None:
    found = {f"attention_{i}": values for i, values in enumerate(run(Path(sys.argv[1]), pixels(192, 192), 7))}
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, *_) in POOLS.items():
            path = Path(folder) / "pool.tflite"
            path.write_bytes(pool_model(name))
            for i, values in enumerate(run(path, pixels(*size), 2)):
                found[f"{name}_{i}"] = values
    ANSWERS.parent.mkdir(exist_ok=True)
    np.savez_compressed(ANSWERS, **found)


if __name__ == "__main__":
    main()
