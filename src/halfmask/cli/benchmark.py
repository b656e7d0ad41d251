"""``halfmask benchmark``: the papers' tables on the data sets at hand."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("configs", nargs=-1, metavar="[CONFIG]...")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that holds the data sets, each in a folder of its layout's name: celeba, lfw, muct, ...",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/benchmark"),
    show_default=True,
    help="Folder for the tables, the protected photos and the measurements.",
)
@click.option("--peers", type=click.Path(file_okay=False, path_type=Path), help="What ${peers} in a config stands for.")
@click.option("--workers", type=click.IntRange(1, 256), help="Photos at a time.  [default: one a core]")
@click.option("--only", multiple=True, metavar="METHOD", help="Only methods of this label or name; may be repeated.")
@click.option("--most", type=click.IntRange(1), help="For a quick look: about so many pictures a set, whole people.")
@click.option("--list", "list_", is_flag=True, help="List the benchmarks that ship, and do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no tables; only what failed or was left out.")
def benchmark(
    configs: tuple[str, ...],
    data: Path,
    output: Path,
    peers: Path | None,
    workers: int | None,
    only: tuple[str, ...],
    most: int | None,
    list_: bool,
    quiet: bool,
) -> int:
    """Run methods on data sets and write the papers' tables, with the papers' own numbers beside ours.

    CONFIG is the name of a benchmark that ships, or a YAML file; without one, all that ship are run. Each writes
    OUT/NAME.md, .csv and .json, an overview also a plot. Needs halfmask[audit], and halfmask[train] for
    attackers that train networks.

    A set or weights that are not there are left out, and the table says so. Run the same line again after an
    interruption: what is done is not done again.

    Exit code: 0 all done, 2 the request made no sense, 3 some failed, or nothing was there to measure, 130 interrupted.
    """
    from ..evaluation.benchmark.config import find, read_config

    paths = find(configs)
    wanted = [read_config(path) for path in paths]  # before the first one runs for hours, all are known to be sound
    if list_:
        from .models import table

        click.echo(table(("name", "kind", "title"), [(c.name, c.kind, c.title) for c in wanted]))
        return 0
    from ..errors import HalfmaskError, UsageError
    from ..evaluation.benchmark.run import run
    from ..evaluation.benchmark.tables import to_markdown, write

    if not data.is_dir():
        raise UsageError(f"there is no folder {data}; give --data FOLDER, which holds celeba, lfw and so on")
    known = {word for c in wanted for m in c.methods for word in (m.label, m.method) if word}
    if odd := [word for word in only if word not in known]:
        raise UsageError(f"no method is called {', '.join(odd)}; there are: {', '.join(sorted(known))}")
    failed = measured = 0
    for config in wanted:
        if only and not any(word in only for m in config.methods for word in (m.label, m.method)):
            continue
        try:
            result = run(
                config, data=data, out=output, peers=peers, workers=workers or 0, only=only, most=most, quiet=quiet
            )
            written = write(result, output)
        except HalfmaskError as error:
            failed += 1
            click.echo(f"{config.name} failed: {error}", err=True)
            continue
        measured += bool(result["rows"])
        for entry in result["skipped"]:
            failed += "failed" in entry
            click.echo(f"{config.name}: left out {entry['what']}: {entry['reason']}", err=True)
        if not quiet:
            click.echo(to_markdown(result))
            click.echo(f"written: {', '.join(str(path) for path in written)}", err=True)
    if not measured:
        click.echo("nothing was measured: no set was there, or every one failed; see --data", err=True)
    return 3 if failed or not measured else 0
