"""``halfmask data``: what a data set holds."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def data() -> None:
    """Look at face data sets."""


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--layout", metavar="NAME", help="Published layout, such as celeba or lfw; recognised when not given.")
@click.option("--decode/--no-decode", default=True, show_default=True, help="Open every picture to see if it is whole.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def check(path: Path, layout: str | None, decode: bool, as_json: bool) -> int:
    """Say what the data set in PATH holds, counts by label, and what is wrong with it.

    Exits with 3 when something is wrong.
    """
    from ..datasets.check import check as look

    report = look(path, layout, decode)
    click.echo(report.to_json() if as_json else str(report))
    return 0 if report.ok else 3
