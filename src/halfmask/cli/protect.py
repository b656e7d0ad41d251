"""``halfmask protect``: photos in, protected photos out."""

from __future__ import annotations

from typing import Any

import click

from .photos import care, carry_out, device_option, elsewhere, named, places, seconds, settings_option


@click.command()
@places
@click.option("--method", default="halfmask", show_default=True, help="How faces are changed; see: halfmask methods.")
@click.option(
    "--hide",
    metavar="WHAT",
    help="What to hide: gender, age, race, or several joined by commas, as far as the method can. Age and race are "
    "EXPERIMENTAL.  [default: gender]",
)
@click.option("--gender", type=click.Choice(["female", "male"]), help="The gender of every face, if you know it.")
@click.option(
    "--labels",
    metavar="CSV",
    help="What you know: columns file,gender,person (one of the last two will do), files named as they lie in the "
    "input folder, or by their path. A row speaks of its photo's largest face. All photos of one person get the same "
    "target. Faces without a gender are estimated, where the method needs it.",
)
@click.option(
    "--prototype",
    type=click.Choice(["sm", "nt", "op"]),
    help="Whose mean face is mixed in by san and its family: same gender (hides least), neutral, opposite (hides "
    "most).  [default: op]",
)
@click.option(
    "--strength",
    metavar="HOW",
    help="low, mid, high or a number from 0 to 1, for a method that has a strength.  [default: the method's own, which "
    "is mid for halfmask]",
)
@settings_option
@care
@device_option
@elsewhere
@click.option(
    "--crop",
    is_flag=True,
    help="Write what the method itself makes, as the papers do: the aligned 224 x 224 face, gray for san and its "
    "family, of each photo's largest face.",
)
@click.option(
    "--preview",
    metavar="SECONDS[@START]",
    help="Of videos only so much, such as 5s, or 5s@1:30 from there on.",
)
@click.option(
    "--score",
    is_flag=True,
    help="Match every face before and after by SFace. It is an auxiliary, which our methods train against, so it shows "
    "that a photo came out as intended and judges nothing.",
)
def protect(
    paths: tuple[str, ...],
    output: str | None,
    format_: str | None,
    max_pixels: int | None,
    settings: tuple[str, ...],
    score: bool,
    preview: str | None,
    **choices: Any,
) -> int:
    """Change the faces in photos and videos so that classifiers find it harder to read their gender.

    They still match the person.

    PATH is a photo or video, several, a folder (with all in it), or - for one photo from stdin to stdout. The same
    size, mode and format come out; EXIF, places and previews do not. Videos need halfmask[video]; one person gets the
    same target throughout a video, whose sound, subtitles, chapters and times are kept.

    Run it again after an interruption, with more photos, or with other options: only what is absent, or was made of
    another photo or in another way, is made. What halfmask did not make is never replaced without --overwrite.
    A small hidden file in each folder of outputs, .halfmask.jsonl, tells; nobody else can read from it what was asked.

    Exit code: 0 all done, 2 the request made no sense, 3 some failed, were left out or are protected only in part, 130
    interrupted.
    """
    from ..protecting.options import Options

    run = {
        name: choices.pop(name)
        for name in (
            "labels",
            "boxes",
            "workers",
            "overwrite",
            "dry_run",
            "json_",
            "quiet",
            "on",
            "address",
        )
    }
    if max_pixels is not None:
        choices["max_pixels"] = max_pixels
    span = None if preview is None else seconds(preview)
    options = Options(format=format_, settings=named(settings), score=score, preview=span, **choices)
    return carry_out(paths, output, options, **run)
