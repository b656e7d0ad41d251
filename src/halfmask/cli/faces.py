"""``halfmask faces``: what is found in a photo, before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from .models import table
from .photos import choosing


@click.command()
@click.argument("path", metavar="PHOTO")
@click.option("--output", "-o", metavar="PICTURE", help="Draw the faces with their numbers into this file.")
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True, help="What is said."
)
@choosing
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger photos.  [default: 250000000]")
@click.option("--overwrite", is_flag=True, help="Replace a PICTURE that is there already.")
def faces(
    path: str,
    output: str | None,
    format_: str,
    boxes: str | None,
    max_pixels: int | None,
    overwrite: bool,
    **choices: Any,
) -> int:
    """List the faces in a PHOTO as protect finds them, by number, and draw them.

    Nothing is changed. The numbers and places are what --only and --skip of protect and deidentify take; give the same
    --min-face, --detector-threshold and --boxes there. With --faces, --only or --skip here it is said who would be
    left out.

    Exit code: 0 faces were found, 2 the request made no sense, 3 the photo cannot be read or no face was found.
    """
    from ..errors import shown
    from ..photos import reading
    from ..photos.detect import SMALLEST, Detector, smallest_searched, turn_of
    from ..photos.drawing import captioned
    from ..protecting.choosing import left_out
    from ..protecting.known import NOTHING, read_boxes
    from ..protecting.options import Options
    from ..protecting.plan import Job, output_format
    from ..weights import store

    if max_pixels is not None:
        choices["max_pixels"] = max_pixels
    options = Options(**choices)
    source = Path(path)
    if not source.is_file():
        raise UsageError(f"{shown(path)} is no file; expected one photo")
    target = None if output is None else Path(output)
    if target is not None:
        output_format(target)
        if target.exists() and (not overwrite or target.samefile(source)):
            raise UsageError(f"{shown(target)} exists; give another -o, or --overwrite when it is not the photo itself")
    given = {} if boxes is None else read_boxes(Path(boxes), [Job(source, source, source.name)])
    store.get("yunet", say=lambda line: click.echo(line, err=True))
    photo = reading.read(source, max_pixels=options.max_pixels)
    smallest = options.min_face or SMALLEST
    found = Detector(options.detector_threshold, smallest=smallest, threads=0)(
        photo.pixels, given.get(source, NOTHING).boxes
    )
    left = left_out(
        found, photo.name, many=options.faces, only=options.only, skip=options.skip, min_face=options.min_face
    )
    why = [left.get(i) or face.doubt for i, face in enumerate(found)]
    if target is not None:
        names = [f"{i}" + (" UNPROTECTED" if why[i - 1] else "") for i in range(1, len(found) + 1)]
        drawn = captioned(photo, [(face.box, name) for face, name in zip(found, names, strict=True)])
        drawn.save(target, format=output_format(target))
    searched = smallest_searched(photo.width, photo.height, smallest)
    if format_ == "json":
        entries = [
            {
                "number": i,
                "box": [round(v, 1) for v in face.box],
                "points": face.points.round(1).tolist(),
                "turn": round(turn_of(face.points)),
                "detection": round(face.score, 4),
                "origin": face.origin,
                "unprotected": why[i - 1],
            }
            for i, face in enumerate(found, 1)
        ]
        said = {"file": path, "width": photo.width, "height": photo.height, "smallest_face": searched, "faces": entries}
        click.echo(json.dumps(said))
    else:
        rows = []
        for i, face in enumerate(found, 1):
            x, y, w, h = face.box
            place = f"{x + w / 2:.0f},{y + h / 2:.0f}"
            turned, score = f"{turn_of(face.points):.0f}", f"{face.score:.2f}"
            note = f"UNPROTECTED: {why[i - 1]}" if why[i - 1] else "" if face.origin == "detector" else face.origin
            rows.append([str(i), place, f"{w:.0f} x {h:.0f}", turned, score, note])
        if rows:
            click.echo(table(["face", "middle", "pixels", "turned", "score", ""], rows))
        else:
            click.echo("no face found")
        click.echo(f"searched for faces of {searched:.0f} pixels and more")
    return 0 if found else 3
