"""`tulle background`: a picture with another background behind its people."""

from __future__ import annotations

import click

from tulle.cli import options
from tulle.errors import TulleError


@click.command("background")
@click.argument("image", type=options.FILE)
@click.option(
    "-o", "--output", "target", type=options.FILE, required=True, metavar="OUT.png",
    help="File to write; its suffix says in which format.",
)  # fmt: skip
@click.option(
    "--blur", type=click.FloatRange(0, 1), metavar="STRENGTH", help="Blur it: 0 to 1; without any option, 0.5."
)
@click.option("--picture", type=options.FILE, metavar="FILE", help="Put this picture there, cut off to cover it.")
@click.option("--colour", metavar="#RRGGBB", help="Put this colour there.")
@click.option(
    "--mask", is_flag=True, help="Put nothing there: the mask is the alpha channel of OUT (PNG, WebP or TIFF)."
)
@click.option("--model", "model_file", type=options.FILE, metavar="MODEL", help="Another network that finds people.")
@options.variant
def command(
    image: str,
    *,
    target: str,
    blur: float | None,
    picture: str | None,
    colour: str | None,
    mask: bool,
    model_file: str | None,
    variant: str,
) -> None:
    """Put another background behind the people of IMAGE, by the code that pages run.

    \b
    Examples:
        tulle background photo.jpg -o blurred.jpg --blur 0.6
        tulle background photo.jpg -o beach.jpg --picture beach.jpg
        tulle background photo.jpg -o green.png --colour '#00aa44'
        tulle background photo.jpg -o person.png --mask
    """
    from tulle.background import Background, parse_colour
    from tulle.cli import output
    from tulle.files import check_target
    from tulle.image import image_format, open_image, write_image

    given = [name for name, value in (("blur", blur), ("picture", picture), ("colour", colour)) if value is not None]
    given += ["mask"] * mask
    if len(given) > 1:
        raise TulleError(f"one background at a time, not --{' and --'.join(given)}")
    check_target(target, image, picture, model_file)
    image_format(target, alpha=mask)
    rgb = parse_colour(colour) if colour is not None else None
    original = open_image(image)
    behind = open_image(picture) if picture is not None else None
    with output.busy(f"Finding people in {image}"), Background(model_file, variant=variant) as background:  # type: ignore[arg-type]
        result = background(original, blur=blur, picture=behind, colour=rgb, cutout=mask)
        found = background.mask
    write_image(target, result)
    height, width = result.shape[:2]
    output.show(f"{target}: {width} x {height} pixels")
    if found is not None and not (found > 0.5).any():
        output.note("the network finds nobody in this picture")
