"""What MediaPipe's ImageToTensorCalculator makes of regions of a picture, for the tests of `tulle.image.to_input`.

    python tests/mediapipe_image_oracle.py

runs it (package mediapipe 0.10.14, not needed for the tests) and writes tests/python/data/mediapipe_image.npz.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tulle.image import Region

ANSWERS = Path(__file__).parent / "python" / "data" / "mediapipe_image.npz"
BORDERS = {"black": "BORDER_ZERO", "edge": "BORDER_REPLICATE"}


@dataclass(frozen=True)
class Case:
    """`size`: height and width of the tensor."""

    size: tuple[int, int]
    region: Region
    keep_aspect: bool = False
    border: Literal["black", "edge"] = "black"

    def __str__(self) -> str:
        r = self.region
        place = f"{r.x}_{r.y}_{r.width}_{r.height}_{r.rotation}"
        return f"{self.size[0]}x{self.size[1]}_{place}_{self.keep_aspect}_{self.border}"


CASES = [
    Case((24, 24), Region()),
    Case((24, 24), Region(), keep_aspect=True),
    Case((30, 20), Region(0.45, 0.55, 0.5, 0.6, 0.3)),
    Case((30, 20), Region(0.45, 0.55, 0.5, 0.6, 0.3), keep_aspect=True),
    Case((20, 30), Region(0.2, 0.3, 0.7, 0.7, -1.0), border="edge"),
    Case((24, 24), Region(0.6, 0.5, 1.2, 0.8, 2.5), keep_aspect=True, border="edge"),
]


def picture() -> np.ndarray:
    """uint8 (60, 80, 3), with sharp edges."""
    coarse = np.random.default_rng(1).integers(0, 256, (12, 16, 3))
    return np.ascontiguousarray(np.kron(coarse, np.ones((5, 5, 1))).astype(np.uint8))


def answer(case: Case) -> np.ndarray:
    """(height, width, 3), 0 to 255."""
    with np.load(ANSWERS) as stored:
        return stored[str(case)]


def run(case: Case) -> np.ndarray:
    import mediapipe
    from mediapipe.framework.formats import rect_pb2

    height, width = case.size
    graph = f"""
        input_stream: "image" input_stream: "region" output_stream: "floats"
        node {{ calculator: "ImageToTensorCalculator"
          input_stream: "IMAGE:image" input_stream: "NORM_RECT:region" output_stream: "TENSORS:tensors"
          options {{ [mediapipe.ImageToTensorCalculatorOptions.ext] {{
            output_tensor_width: {width} output_tensor_height: {height}
            keep_aspect_ratio: {str(case.keep_aspect).lower()} border_mode: {BORDERS[case.border]}
            output_tensor_float_range {{ min: 0 max: 255 }} }} }} }}
        node {{ calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:tensors"
          output_stream: "FLOATS:floats" }}"""
    calculators = mediapipe.CalculatorGraph(graph_config=graph)
    found: list[np.ndarray] = []
    calculators.observe_output_stream(
        "floats", lambda _, packet: found.append(np.float32(mediapipe.packet_getter.get_float_list(packet)))
    )
    calculators.start_run()
    create = mediapipe.packet_creator
    image = create.create_image_frame(image_format=mediapipe.ImageFormat.SRGB, data=picture())
    r = case.region
    region = rect_pb2.NormalizedRect(x_center=r.x, y_center=r.y, width=r.width, height=r.height, rotation=r.rotation)
    calculators.add_packet_to_input_stream("image", image.at(0))
    calculators.add_packet_to_input_stream("region", create.create_proto(region).at(0))
    calculators.close_all_packet_sources()
    calculators.wait_until_done()
    return found[0].reshape(height, width, 3)


def main() -> None:
    ANSWERS.parent.mkdir(exist_ok=True)
    # OpenCV's values are whole numbers.
    np.savez_compressed(ANSWERS, **{str(case): run(case).round().astype(np.uint8) for case in CASES})


if __name__ == "__main__":
    main()
