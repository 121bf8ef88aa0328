"""Draws people in all poses, clothes and colours: pictures of people whose licence lets derived models ship.

Bodies come from Anny (`pip install anny`; Apache 2.0), whose shapes are MakeHuman's (CC0). It only has bare bodies, so
hair and clothes are parts of the skin, coloured and pushed out a little. That is crude but enough: the dense selfie
model takes them for people, and a sparse one only has to learn what the dense one answers.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from common import kept_pictures, progress
from tulle import TulleError

SIZE = 400  # pixels of the square that a body is drawn into
SKIN, SHIRT, TROUSERS, HAIR, LIPS, BROWS, EYES = range(7)

# Degrees of random joint rotation, on each side; for elbows and shoulders one of several.
TURNS = {
    "clavicle": (6,),
    "upperarm01": (15, 30, 50),
    "lowerarm01": (15, 40, 60),
    "wrist": (15,),
    "upperleg01": (15,),
    "lowerleg01": (10,),
    **{f"finger{finger}-{part}": (15,) for finger in range(1, 6) for part in (1, 2)},
}
SPINE = {"spine05": 5, "spine04": 5, "spine03": 5, "spine02": 5, "spine01": 5, "neck01": 8, "neck02": 8, "head": 8}
HAIR_COLOURS = ((0.06, 0.05, 0.05), (0.15, 0.09, 0.05), (0.35, 0.22, 0.1), (0.7, 0.55, 0.3), (0.6, 0.6, 0.6),
                (0.4, 0.12, 0.05))  # fmt: skip


def bodies(folder: Path, count: int) -> list[Image.Image]:
    """`count` people as RGBA, always the same ones; drawn into the folder once.

    Some are complete, others are cut off at the lower edge.
    """

    def draw(numbers: list[int]) -> Iterator[Image.Image]:
        body = Body()
        for number in progress(numbers, "Drawing people"):
            yield cropped(body.draw(np.random.default_rng(number)))

    return [Image.open(path) for path in kept_pictures(folder, count, draw)]


def cropped(picture: Image.Image) -> Image.Image:
    """Crops empty edges, except for one empty row below complete people."""
    box = picture.getbbox()
    if box is None:
        raise TulleError("nobody is to be seen")
    return picture.crop((*box[:3], min(box[3] + 1, picture.height)))


class Body:
    """Anny's model, and the body part of each triangle. z points up, and the face towards -y."""

    def __init__(self) -> None:
        try:
            import anny
            from anny.face_segmentation import get_face_segmentation_mask
        except ImportError:
            raise TulleError("people are drawn by Anny: pip install anny") from None

        self.model = anny.Anny(local_changes="default").float()
        self.bones = list(self.model.bone_labels)
        self.triangles = np.asarray(self.model.faces)
        strongest = self.model.dense_vertex_bone_weights.numpy().argmax(1)[self.triangles[:, 0]]
        self.bone = np.array(self.bones)[strongest]

        def part(*labels: str) -> np.ndarray:
            return get_face_segmentation_mask(self.model, labels).numpy()

        self.head, self.hands = part("head"), part("hand.L", "hand.R")
        self.eyes = part("eye_front.L", "eye_front.R")
        self.inside = part("mouth_cavity", "tongue", "eye_cavity.L", "eye_cavity.R")

    def draw(self, random: np.random.Generator) -> Image.Image:
        """A random person, RGBA, SIZE x SIZE."""
        vertices, rest, eyes = self._pose(random)
        kinds = self._dress(rest, eyes, random)
        vertices = self._thicken(vertices, kinds, random)
        colours = self._colour(rest, eyes, kinds, random)
        triangles = self.triangles
        if random.random() < 0.4:
            hair, more = self._long_hair(vertices, rest, random)
            shades = colours[kinds == HAIR].mean(0) * (1 + 0.1 * random.normal(0, 1, (len(more), 1)))
            triangles = np.concatenate([triangles, more + len(vertices)])
            vertices, colours = np.concatenate([vertices, hair]), np.concatenate([colours, shades])
        return self._project(vertices, triangles, colours, random)

    def _pose(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices of a random person in a pose, the same at rest, and the position of the eyes at rest."""
        import torch

        def tensor(value: Any) -> torch.Tensor:
            return torch.tensor([float(value)])

        shape = {name: tensor(random.uniform(0.4 if name == "age" else 0, 1)) for name in self.model.phenotype_labels}
        changed = random.choice(self.model.local_change_labels, 40, replace=False)
        changes = {str(name): tensor(random.normal(0, 0.35)) for name in changed}
        pose = np.tile(np.eye(4, dtype=np.float32), (1, len(self.bones), 1, 1))
        turns = {f"{name}.{side}": random.choice(turn) for name, turn in TURNS.items() for side in "LR"}
        for name, degrees in {**turns, **SPINE}.items():
            pose[0, self.bones.index(name), :3, :3] = rotation(np.deg2rad(degrees) * random.normal(0, 1, 3))
        with torch.no_grad():
            made = self.model(
                pose_parameters=torch.from_numpy(pose), phenotype_kwargs=shape, local_changes_kwargs=changes
            )
        eyes = made["rest_bone_heads"][0].numpy()[[self.bones.index("eye.L"), self.bones.index("eye.R")]]
        return made["vertices"][0].numpy(), made["rest_vertices"][0].numpy(), eyes

    def _from_eyes(self, rest: np.ndarray, eyes: np.ndarray) -> np.ndarray:
        """Centres of the triangles at rest, from between the eyes, in metres of a head of usual size; y is to the
        back."""
        scale = (rest[self.triangles[self.head]][..., 2].max() - eyes[:, 2].mean()) / 0.11
        return (rest[self.triangles].mean(1) - eyes.mean(0)) / scale

    def _dress(self, rest: np.ndarray, eyes: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The kind of each triangle: skin, shirt, ..."""

        def of(*names: str) -> np.ndarray:
            return np.array([bone.startswith(names) for bone in self.bone])

        across, back, up = self._from_eyes(rest, eyes).T
        front = self.head & (back < 0.06)
        arms = of("upperarm", "lowerarm", "wrist", "shoulder")
        kinds = np.full(len(rest[self.triangles]), SHIRT)
        kinds[of("upperleg", "lowerleg", "foot", "toe", "pelvis")] = TROUSERS
        bare = [self.hands, of("lowerarm", "wrist"), arms][: random.choice([1, 2, 3], p=[0.6, 0.3, 0.1])]
        kinds[np.any([*bare, self.head, of("neck", "head")], axis=0)] = SKIN
        kinds[(up > -random.uniform(0.16, 0.24)) & (abs(across) < 0.08) & ~arms] = SKIN  # the neckline
        if random.random() < 0.2:
            kinds[front & (up < -0.05) & (up > -0.13)] = HAIR  # a beard
        kinds[front & (abs(up + 0.065) < 0.008) & (abs(across) < 0.024) & (back < 0.02)] = LIPS
        kinds[front & (abs(up - 0.02) < 0.006) & (abs(abs(across) - 0.033) < 0.02)] = BROWS
        if random.random() < 0.9:
            deep = -random.uniform(0.06, 0.12)
            scalp = (up > random.uniform(0.045, 0.075)) | ((back > 0.09) & (up > deep)) | ((back > 0.06) & (up > 0))
            kinds[self.head & scalp] = HAIR
        kinds[self.inside] = LIPS
        kinds[self.eyes] = EYES
        return kinds

    def _thicken(self, vertices: np.ndarray, kinds: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Pushes clothes and hair out, unevenly."""
        out = np.zeros(len(vertices))
        for kind, most in ((SHIRT, 0.03), (TROUSERS, 0.02), (HAIR, 0.035)):
            out[self.triangles[kinds == kind]] = random.uniform(0.003, most)
        out[self.triangles[kinds == SKIN]] = 0
        waves = [np.sin(vertices @ random.normal(0, steep, 3) + random.uniform(0, 6)) for steep in (60, 90)]
        return vertices + normals(vertices, self.triangles) * (out * (1 + 0.3 * sum(waves)))[:, None]

    def _colour(self, rest: np.ndarray, eyes: np.ndarray, kinds: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Of each triangle, 0 to 1."""
        light = random.choice([random.uniform(0.2, 0.4), random.uniform(0.45, 0.8)])
        skin = np.array(colorsys.hls_to_rgb(random.uniform(0.03, 0.085), light, random.uniform(0.25, 0.6)))
        hair = np.array(HAIR_COLOURS[random.integers(len(HAIR_COLOURS))]) * random.uniform(0.7, 1.3)
        if random.random() < 0.1:
            hair = random.uniform(0, 1, 3)  # a cap, or a scarf
        shirt, trousers = random.uniform(0, 1, 3) * random.uniform(0.2, 1), random.uniform(0, 0.6, 3)
        colours = np.stack([skin, shirt, trousers, hair, skin * (0.8, 0.5, 0.5), hair * 0.8, (0.85, 0.85, 0.85)])[kinds]

        middles = rest[self.triangles].mean(1)
        dark = np.min([np.hypot(*(middles - eye)[:, ::2].T) for eye in eyes], axis=0) < 0.007
        colours[self.eyes & dark] = 0.1
        waves = [np.sin(middles @ random.normal(0, 1, 3) * random.uniform(60, 300)) for _ in range(2)]
        patterns = [waves[0] > 3, waves[0] > random.uniform(-0.5, 0.5), waves[0] * waves[1] > 0,
                    random.random(len(kinds)) < 0.5]  # fmt: skip
        second = patterns[random.choice(4, p=[0.45, 0.2, 0.15, 0.2])]
        colours[(kinds == SHIRT) & second] = random.uniform(0, 1, 3)
        across, back, _ = self._from_eyes(rest, eyes).T
        if random.random() < 0.25:
            jacket = (abs(across) > random.uniform(0.03, 0.08)) | (back > 0.08)
            colours[(kinds == SHIRT) & jacket] = random.uniform(0, 0.6, 3)
        cloth = np.isin(kinds, [SHIRT, TROUSERS, HAIR])
        return colours * (1 + 0.08 * random.normal(0, 1, len(kinds)) * cloth)[:, None]

    def _long_hair(
        self, vertices: np.ndarray, rest: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Long hair: a tube around the back of the head, down to between chin and back; vertices and triangles."""
        head = np.unique(self.triangles[self.head])
        low, high = rest[head].min(0), rest[head].max(0)
        wide, long = (high[0] - low[0]) / 2 * random.uniform(1, 1.2), high[2] - low[2]
        centre = (low + high) / 2 + (0, 0.3 * wide, 0)
        rings, around = 16, 24
        down = np.linspace(0, 1, rings)
        width = np.where(down < 0.25, np.sqrt(np.clip(1 - (1 - 4 * down) ** 2, 0, 1)), 1 + 0.25 * (down - 0.25)) * wide
        angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
        loose = 1 + 0.05 * random.normal(0, 1, (rings, around))
        tube = np.stack(
            [
                centre[0] + np.cos(angle) * width[:, None] * loose,
                centre[1] + np.sin(angle) * width[:, None] * 0.75,
                np.repeat(high[2] + 0.012 - down * long * random.uniform(0.8, 2), around).reshape(rings, around),
            ],
            axis=2,
        ).reshape(-1, 3)
        # The head's rotation from rest to pose (Kabsch 1976).
        before, after = rest[head] - rest[head].mean(0), vertices[head] - vertices[head].mean(0)
        left, _, right = np.linalg.svd(before.T @ after)
        turned = (tube - rest[head].mean(0)) @ left @ right + vertices[head].mean(0)
        here = np.arange(rings * around - around).reshape(-1, around)
        beside, below = np.roll(here, -1, axis=1), here + around
        opposite = np.roll(below, -1, axis=1)
        corners = [[here, below, beside], [beside, below, opposite]]
        return turned, np.concatenate([np.stack(three, axis=2).reshape(-1, 3) for three in corners])

    def _project(
        self, vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray, random: np.random.Generator
    ) -> Image.Image:
        """Renders it from a random camera in front, in random light; far triangles are painted first."""
        turn = rotation([random.normal(0, 0.15), 0, 0]) @ rotation([0, 0, random.normal(0, 0.6)])
        head = vertices[np.unique(self.triangles[self.head])]
        points = (vertices - head.mean(0)) @ turn.T
        distance = random.uniform(0.6, 3)
        depth = np.maximum(distance + points[:, 1], 0.1)
        whole = random.random() < 0.35
        share = random.uniform(0.11, 0.13) if whole else random.uniform(0.15, 0.5)  # of the square, that is the head
        zoom = share * SIZE / np.ptp(head[:, 2]) * distance
        screen = np.stack([SIZE / 2 + zoom * points[:, 0] / depth, 0.2 * SIZE - zoom * points[:, 2] / depth], axis=1)
        if not whole:
            screen[:, 1] += 0.3 * share * SIZE

        facing = normals(points, triangles)[triangles].mean(1)
        light = random.normal(0, 0.7, 3) + (0, -1, 0.5)
        lit = np.clip(facing @ light / np.linalg.norm(light), 0, 1)
        dim = random.uniform(0.2, 0.7)
        shade = (dim + (1 - dim) * lit + random.uniform(0, 0.2) * lit**12) * random.uniform(0.8, 1.3)
        paint = np.uint8(255 * np.clip(colours * shade[:, None] * (1 + random.normal(0, 0.07, 3)), 0, 1))

        (x0, y0), (x1, y1), (x2, y2) = screen[triangles].transpose(1, 2, 0)
        seen = (x1 - x0) * (y2 - y0) < (x2 - x0) * (y1 - y0)
        order = np.argsort(-depth[triangles].mean(1))
        picture = Image.new("RGBA", (SIZE, SIZE))
        draw = ImageDraw.Draw(picture)
        corners = screen[triangles].reshape(-1, 6)
        for index in order[seen[order]]:
            draw.polygon(corners[index].tolist(), fill=(*paint[index].tolist(), 255))
        return picture


def rotation(vector: Any) -> np.ndarray:
    """About an axis by the angle that is its length (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = np.asarray(vector) / max(angle, 1e-9)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Of each vertex, of length 1."""
    first, second, third = vertices[triangles].transpose(1, 0, 2)
    across = np.cross(second - first, third - first)
    total = np.stack(
        [
            np.bincount(triangles.reshape(-1), np.repeat(across[:, axis], 3), minlength=len(vertices))
            for axis in range(3)
        ],
        axis=1,
    )
    return total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-9)
