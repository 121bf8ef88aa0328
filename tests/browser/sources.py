"""JavaScript of tests that draws one picture on everything that a page can hold it in."""

from __future__ import annotations


def same_picture(url: str) -> str:
    """Statements that define `blob`, `bitmap`, `image`, `canvas`, `offscreen` and `imageData`, `width` and `height`."""
    return f"""
const blob = await (await fetch('{url}')).blob();
const bitmap = await createImageBitmap(blob);
const {{ width, height }} = bitmap;
const image = new Image();
image.src = '{url}';
await image.decode();
const canvas = Object.assign(document.createElement('canvas'), {{ width, height }});
canvas.getContext('2d').drawImage(bitmap, 0, 0);
const offscreen = new OffscreenCanvas(width, height);
offscreen.getContext('2d').drawImage(bitmap, 0, 0);
const imageData = offscreen.getContext('2d').getImageData(0, 0, width, height);
"""
