"""``halfmask audit``: how well did protection work, and for whom?"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import UsageError

if TYPE_CHECKING:
    from ..datasets.table import Table
    from ..evaluation.attackers import Budget
    from ..evaluation.audit.request import Page, Sample
    from ..protecting.options import Options

#: Options that say how to protect first, and so mean nothing when two folders are given.
_PROTECTING = ("method", "dataset", "data", "split", "prototype", "strength", "settings")
_SPLITS = ("train", "valid", "test")


@click.command()
@click.argument("paths", nargs=-1, metavar="[ORIGINALS PROTECTED]", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", "out", required=True, metavar="REPORT", type=click.Path(path_type=Path), help="Report's folder."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="What is known of the originals: columns file,gender and, if known, identity, age, race. A published layout, "
    "such as celeba or lfw, brings its own.",
)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Photos to match: columns a,b,same, or LFW's pairs.txt. a stays the original, b is the protected photo.  "
    "[default: every two photos]",
)
@click.option(
    "--affix",
    metavar="TEXT",
    help="What protected photos have before or after their originals' names, such as _cloaked; both may lie in one "
    "folder then.  [default: looked for where it is needed]",
)
@click.option("--method", metavar="NAME", help="Protect --dataset by this method first; see: halfmask methods.")
@click.option("--dataset", metavar="NAME", help="Data set to protect: a layout's name, found in --data, or a folder.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(),
    show_default="the current folder",
    help="Folder that holds the data sets, each in a folder of its layout's name.",
)
@click.option(
    "--split",
    type=click.Choice([*_SPLITS, "all"]),
    help="Which part of the data set.  [default: test, else valid, else all]",
)
@click.option("--prototype", type=click.Choice(["sm", "nt", "op"]), help="As in: halfmask protect.")
@click.option("--strength", metavar="HOW", help="As in: halfmask protect.")
@click.option("--hide", metavar="WHAT", help="As in: halfmask protect.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As in: halfmask protect; repeatable.")
@click.option(
    "--direction",
    type=click.Choice(["protect", "deidentify"]),
    help="What the protection is for: protect hides attributes and keeps the person recognisable, deidentify hides who "
    "it is and keeps the attributes.  [default: the method's, else protect]",
)
@click.option(
    "--attackers/--no-attackers", default=True, show_default=True, help="Train attackers on the protected photos."
)
@click.option("--attack", "attacks", multiple=True, metavar="NAME", help="Only this attack; repeatable.")
@click.option(
    "--budget", type=click.Path(path_type=Path), metavar="YAML", help="What attackers may spend.  [default: minutes]"
)
@click.option("--referee", "referees", multiple=True, metavar="NAME", help="Only this referee; repeatable.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: one a core]")
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes every draw.")
@click.option("--most", type=click.IntRange(1), help="About so many photos, of whole people.")
@click.option("--pictures", type=click.IntRange(0, 60), default=6, show_default=True, help="Faces shown, drawn by lot.")
@click.option("--title", help="What the report calls the originals.  [default: their folder's name]")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but warnings and what failed.")
@click.pass_context
def audit(
    context: click.Context,
    /,
    paths: tuple[Path, ...],
    out: Path,
    budget: Path | None,
    referees: tuple[str, ...],
    attacks: tuple[str, ...],
    workers: int | None,
    quiet: bool,
    **choices: Any,
) -> int:
    """Measure what protection did: what can still be read, whether faces still match, what the photos lost.

    ORIGINALS and PROTECTED are two folders (or two photos), paired by name (see --affix); or let --method protect
    --dataset first. REPORT gets a page to read, results.json and a CSV a table. Needs
    halfmask[audit], and halfmask[train] for attackers that train networks.

    The judges (referees) are models that halfmask never trained against; attackers learn from the protected photos of
    half of the people and are judged on the others. Nothing leaves this machine.

    Run the same line again after an interruption: what is done is not done again.

    Exit code: 0 all done, 2 the request made no sense, 3 some files could not be measured, 130 interrupted.
    """
    from ..evaluation.audit import run as auditing
    from ..evaluation.audit.request import Judges, Page, Sample

    method = {"name": choices["method"]} if choices["method"] else None
    page = Page(choices["title"], choices["pictures"], method, choices["direction"], command=_command(context))
    judges = Judges(list(referees) or None, (list(attacks) or None) if choices["attackers"] else ())
    judges.check(page.aim)
    if budget is not None:
        judges = replace(judges, budget=read_budget(budget))
    sample = Sample(choices["affix"], choices["pairs"], choices["most"], choices["seed"])
    shared: dict[str, Any] = {"out": out, "judges": judges, "workers": workers or 0, "say": _say, "quiet": quiet}
    given = [name for name in _PROTECTING if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    if choices["method"] or choices["dataset"]:
        if sample.affix is not None:
            raise UsageError("--affix is for two folders, whose names are compared; leave it out with --method")
        if paths or not (choices["method"] and choices["dataset"]):
            raise UsageError("give two folders, ORIGINALS PROTECTED, or both of --method and --dataset")
        table, files, page = _protected_first(choices, out, sample, page, workers or 0, quiet)
        # it was cut to so many photos before they were protected
        results = auditing.audit(table, files, sample=replace(sample, most=None), page=page, **shared)
    elif len(paths) != 2:
        raise UsageError(
            f"expected two folders, ORIGINALS PROTECTED, or --method and --dataset; got {len(paths)} paths"
        )
    elif given:
        raise UsageError(f"--{given[0].replace('settings', 'set')} is for --method, which protects first; leave it out")
    else:
        results = auditing.audit(*paths, labels=choices["labels"], sample=sample, page=page, **shared)
    for file, reason in results["set"]["unreadable"]:
        _say(f"{file}: {reason}")
    if not quiet:
        for line in results.verdict:
            click.echo(click.wrap_text(line, 100, subsequent_indent="  "))
        click.echo(f"report: {results.report}")
    return 3 if results["set"]["unreadable"] else 0


def _say(line: str) -> None:
    click.echo(line, err=True)


def _command(context: click.Context) -> str:
    """The line that was typed, from what click made of it, so that it is the same however halfmask was started.

    Secret settings are not in it.
    """
    from ..methods import METHODS
    from .photos import named

    words = ["halfmask", "audit", *map(str, context.params["paths"])]
    for parameter in context.command.get_params(context):
        name = parameter.name or ""
        if not isinstance(parameter, click.Option) or context.get_parameter_source(name) != ParameterSource.COMMANDLINE:
            continue
        value = context.params.get(name)
        flag = max(parameter.opts, key=len)
        if parameter.is_flag:
            words.append(flag if value else max(parameter.secondary_opts, key=len))
        else:
            values = value if isinstance(value, tuple) else (value,)
            if name == "settings":  # which may be secrets
                method = METHODS.get(context.params["method"] or "")
                told = method.told(named(values)) if method else {}  # without one they are refused
                values = tuple(f"{setting}={text}" for setting, text in told.items())
            for one in values:
                words += [flag, str(one)]
    return shlex.join(words)


def read_budget(path: Path) -> Budget:
    """What attackers may spend, from a YAML file whose keys are the fields of ``evaluation.attackers.Budget``.

    Raises :class:`~halfmask.errors.UsageError` for a file that cannot be read, an unknown key or an odd value.
    """
    from ..errors import extra, shown
    from ..evaluation.attackers import Budget

    yaml = extra("yaml", "a budget")

    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the budget {shown(path)} cannot be read: {error}") from error
    known = ", ".join(field.name for field in fields(Budget))
    if not isinstance(values, dict):
        raise UsageError(f"the budget {shown(path)} holds {values!r}; expected lines such as epochs: 5, of {known}")
    try:
        return Budget(**values)
    except TypeError as error:  # an unknown key, or a value of another kind
        raise UsageError(f"the budget {shown(path)} makes no sense: {error}; expected numbers for {known}") from error


def _protected_first(
    choices: Mapping[str, Any], out: Path, sample: Sample, page: Page, workers: int, quiet: bool
) -> tuple[Table, dict[str, Path], Page]:
    """Protect a data set into the report's folder, with the true labels: its photos, their files, and the page."""
    from ..datasets.splits import most_people
    from ..evaluation.audit import run as auditing
    from ..evaluation.audit.told import read_labels
    from ..evaluation.benchmark.protect import protect_table
    from ..methods import METHODS
    from ..protecting import pipeline
    from ..protecting.options import Options
    from ..weights import store
    from .photos import named

    asked = {key: choices[key] for key in ("prototype", "strength", "hide") if choices[key] is not None}
    options = Options(method=choices["method"], settings=named(choices["settings"]), **asked)
    table, notes = _dataset(choices["dataset"], choices["data"], choices["split"])
    auditing.check_report(out, [table.root])
    if choices["labels"] is not None:
        table, more = read_labels(choices["labels"], table)
        notes += more
    whole = len(table)
    if sample.most is not None and whole > sample.most:
        table = most_people(table, sample.most, sample.seed)
        notes.append(f"{len(table)} of {whole} photos were measured, of whole people drawn by lot.")
    for name in ("yunet", *METHODS[options.method].cls.models):
        store.get(name, say=_say)
    workers = workers or pipeline.cores()
    engine = pipeline.load(options, workers=workers, photos=len(table))
    with auditing.room(out):
        method = _settled(out, options)
        files, left_out = protect_table(
            table, [row.key for row in table], engine, out / "protected", workers=workers, quiet=quiet
        )
    for note in notes if not quiet else ():
        _say(note)
    faceless = sum(reason == "no face was found" for _, reason in left_out)
    if faceless:
        notes.append(f"{faceless} photos were not protected, since no face was found in them.")
    if failed := [why for _, why in left_out if why != "no face was found"]:
        notes.append(f"{len(failed)} photos could not be protected, the first because {failed[0]}")
        _say(notes[-1])
    return table, files, replace(page, method=method, notes=notes)


def _dataset(name: str, data: Path, split: str | None) -> tuple[Table, list[str]]:
    """The rows of a data set to protect, and a note which they are."""
    from ..datasets import READERS, read, recognise

    root = data / name if (data / name).is_dir() else Path(name)
    if not root.is_dir():
        layouts = ", ".join(layout for layout in READERS if layout != "folder")
        raise UsageError(
            f"there is no data set {name!r}: neither the folder {data / name} nor {root}. Give --data FOLDER and a "
            f"layout that lies there ({layouts}), or the folder itself"
        )
    table = read(name if name in READERS else recognise(root), root)
    counts = table.counts("split")
    if split is None:
        split = next((part for part in ("test", "valid") if counts.get(part)), "all")
    if split == "all":
        return table, []
    if not counts.get(split):
        there = ", ".join(f"{part} {count}" for part, count in counts.items() if part) or "no split at all"
        raise UsageError(f"{table.name} has no photos in the split {split}; it has {there}, and all")
    return table.where(lambda row: row.split == split), [f"Measured is the split {split} of {table.name}."]


def _settled(out: Path, options: Options) -> dict[str, Any]:
    """How the photos are protected, which is written down: a report's folder holds photos of one way only."""
    from ..methods.key import keyed
    from ..storage import ensure_folder, whole
    from ..weights import shipped, store

    method: dict[str, Any] = {
        "name": options.method,
        "prototype": options.asked.get("prototype"),
        "strength": options.strength,
        "hide": options.hide,
        "settings": {name: str(value) for name, value in options.report()["settings"].items()},
    }
    of_ours = {n: entry["sha256"] for n, entry in shipped.manifest().items() if n.startswith(f"{options.method}.")}
    folders = [Path(value) for value in method["settings"].values() if Path(value).is_dir()]
    given = {p.name: store.sha256_of(p) for folder in folders for p in sorted(folder.iterdir()) if p.is_file()}
    about = method | {"weights": of_ours | given}
    if method["settings"] != {name: str(value) for name, value in options.settings.items()}:
        about["secrets"] = keyed(json.dumps(dict(options.settings), sort_keys=True, default=str))
    record = out / "work" / "method.json"
    if record.is_file():
        if json.loads(record.read_text("utf-8")) != about:
            raise UsageError(
                f"{out} holds photos that were protected in another way; give another -o, or remove that folder"
            )
    else:
        with whole(ensure_folder(record.parent) / record.name) as fresh:
            fresh.write_text(json.dumps(about), "utf-8")
    return method
