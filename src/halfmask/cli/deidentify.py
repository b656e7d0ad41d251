"""``halfmask deidentify``: photos in, photos out that recognisers match less to the person."""

from __future__ import annotations

from typing import Any

import click

from ..errors import UsageError
from .photos import care, carry_out, named, places, settings_option


@click.command()
@places
@click.option(
    "--method",
    type=click.Choice(["deidentify", "stranger", "p-fgvm", "i-fgvm", "i-fgsm"]),
    default="deidentify",
    show_default=True,
    help="deidentify and stranger hide from recognisers that nobody has seen, deidentify by a search, stranger by a "
    "trained network, which is fast, hides less and shows more. The others are the papers', and deceive the one "
    "NETWORK of --against.",
)
@click.option(
    "--against",
    metavar="NETWORK",
    help="Whom p-fgvm, i-fgvm and i-fgsm deceive: a folder or file of halfmask train identity, or sface.",
)
@click.option(
    "--strength",
    metavar="HOW",
    help="low, mid, high or a number from 0 to 1, for deidentify how much of the photo's likeness may be spent, for "
    "stranger the size of the change.  [default: mid]",
)
@settings_option
@care
def deidentify(
    paths: tuple[str, ...],
    output: str | None,
    method: str,
    against: str | None,
    strength: str | None,
    format_: str | None,
    max_pixels: int | None,
    settings: tuple[str, ...],
    **choices: Any,
) -> int:
    """Change the faces in photos so that recognisers find it harder to match them to the person.

    People see nearly the same face. The opposite of: halfmask protect. It takes seconds a face, and needs
    halfmask[train]; the method stranger takes milliseconds, and does not.

    PATH is a photo, several, a folder (with all in it), or - for one photo from stdin to stdout. The same size, mode
    and format come out; EXIF, places and previews do not.

    Each face's match with itself before and after is told, by SFace, which faces are changed against: it shows that a
    photo came out as intended and judges nothing. What other recognisers make of it is measured by: halfmask audit.

    Run it again after an interruption, with more photos, or with other options: only what is absent, or was made of
    another photo or in another way, is made. What halfmask did not make is never replaced without --overwrite.
    A small hidden file in each folder of outputs, .halfmask.jsonl, tells; nobody else can read from it what was asked.

    Exit code: 0 all done, 2 the request made no sense, 3 some failed, were left out or are protected only in part, 130
    interrupted.
    """
    from ..methods import METHODS
    from ..protecting.options import Options

    run = {name: choices.pop(name) for name in ("boxes", "workers", "overwrite", "dry_run", "json_", "quiet")}
    if max_pixels is not None:
        choices["max_pixels"] = max_pixels
    asked = named(settings)
    if against is not None:
        if "against" in asked:
            raise UsageError("--against and --set against= say the same; give one of them")
        asked["against"] = against
    if "strength" in METHODS[method].cls.settings:
        strength = strength or "mid"  # told in the summary
    options = Options(method=method, strength=strength, settings=asked, format=format_, score=True, **choices)
    return carry_out(paths, output, options, **run)
