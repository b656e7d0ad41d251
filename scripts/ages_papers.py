"""The CORAL papers' tables: MAE and RMSE of CE, OR-CNN, CORAL and CORN on their data sets, beside what they report.

    python scripts/ages_papers.py --sets morph2,utkface --out runs/age-papers
    python scripts/ages_papers.py --sets utkface-here --heads CE,OR,CORAL --seeds 0
    python scripts/ages_papers.py --report --into docs/results/age-papers.md

Trains the configs age-papers/SET with every head, with importance weights and without, and the seeds 0, 1, 2 (a run
that is there goes on, or is left alone when done), and prints what is done. A set whose pictures or lists are not where
its config says is left out and named; in place of a name may stand a config of its own, a YAML file. ``--report``
trains nothing, and needs of a run but ``config.yaml``, ``test.json`` and ``test.npz``. ``--into`` puts what is printed
into a page, in place of all from its first heading of level two on. ResNet-34 for 200 epochs needs a GPU.

This is no kind of ``halfmask benchmark``: that protects photos and lets referees compare, and never trains; here
nothing is protected, and what is compared are 18 trainings a set.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ages import HEADS as OURS
from ages import figures
from ages import row as line_of

from halfmask.errors import DataError
from halfmask.evaluation.measuring.summary import Published
from halfmask.storage import whole
from halfmask.tabular import markdown
from halfmask.training.attribute import AttributeConfig, train_attribute
from halfmask.training.config import load_config
from halfmask.training.sources import source_table

FAMILY = "age-papers"
#: The sets of the papers.
PAPERS = ("morph2", "afad", "utkface", "cacd")
#: Column of the tables → kind of head, and whether its tasks are weighed.
HEADS = {
    "CE": ("categorical", False),
    "OR": ("or", False),
    "CORAL": ("coral", False),
    "CORN": ("corn", False),
    "OR weighted": ("or", True),
    "CORAL weighted": ("coral", True),
}
#: Of CORAL's biases, what else is said of our own runs.
BIASES = {"span": "first bias − last, by seed", "fall": "least fall from one bias to the next, by seed"}


def runs(
    name: str, data: Path, out: Path, seeds: list[int], wanted: Collection[str] = tuple(HEADS)
) -> dict[tuple[str, int], tuple[AttributeConfig, Path]]:
    """Head and seed → the config and the folder of each run on a set, for the wanted heads."""
    base = load_config(AttributeConfig, name if name.endswith(".yaml") else f"{FAMILY}/{name}", data)
    found = {}
    for seed in seeds:  # seed by seed, so that runs that are cut short have compared like with like
        for head, (kind, importance) in HEADS.items():
            if head not in wanted:
                continue
            heads = {"age": {**base.heads["age"], "kind": kind}}
            config = replace(base, heads=heads, importance=importance, seed=seed)
            found[head, seed] = (config, out / f"{Path(name).stem}-{head.lower().replace(' ', '-')}-{seed}")
    return found


def reason_against(config: AttributeConfig) -> str | None:
    """Why a set cannot be trained on; None when it can."""
    try:
        for source in (*config.train, *config.valid, *config.test):
            if "pack" not in source:
                source_table(source)
    except DataError as error:
        return str(error)
    return None


def lines(
    measure: str, measured: Mapping[str, Mapping[str, list[dict[str, float]]]], published: list[dict[str, Any]]
) -> list[Published]:
    """Ours and the published rows of one measure, a set's together."""
    rows: list[Published] = []
    sets = dict.fromkeys([*measured, *(row["set"] for p in published for row in p["rows"])])
    for name in sets:
        ours = {head: text([f[measure] for f in found]) for head, found in measured.get(name, {}).items() if found}
        if ours:
            rows.append({"set": name, "by": "ResNet-34", "source": "here", **ours})
        for p in published:
            for row in p["rows"] if p["measure"] == measure else ():
                if row["set"] == name:
                    said = {head: printed(row[head]) + r"\*" * contradicted(row[head]) for head in HEADS if head in row}
                    rows.append({"set": name, "by": row["by"], "source": p["source"], **said})
    return [{head: row.get(head) for head in ("set", "by", "source", *HEADS)} for row in rows]


def text(values: list[float]) -> str:
    """Mean and standard deviation over the seeds, and how many those are when not three."""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}" + (f" ({len(values)} of 3)" if len(values) != 3 else "")


def printed(value: float | list[Any]) -> str:
    """A published figure: the mean, with its standard deviation where that is given."""
    return f"{value[0]:.2f} ± {value[1]:.2f}" if isinstance(value, list) else f"{value:.2f}"


def seeds_of(value: float | list[Any]) -> list[float] | None:
    """The seeds behind a published figure, where they are given."""
    return value[2] if isinstance(value, list) and len(value) > 2 else None


def contradicted(value: float | list[Any]) -> bool:
    """Whether a published mean is not its seeds', which are rounded to two digits as it is.

    >>> contradicted([4.89, 0.01, [4.88, 4.87, 4.87]]), contradicted([2.97, 0.01, [2.98, 2.98, 2.96]])
    (True, False)
    """
    seeds = seeds_of(value)
    return seeds is not None and bool(abs(np.mean(seeds) - value[0]) > 0.0101)  # type: ignore[index]


def seed_lines(measure: str, published: list[dict[str, Any]]) -> list[Published]:
    """The published seeds of one measure, where they are given; a figure that contradicts them is said beside them."""
    rows: list[Published] = []
    for p in published:
        for row in p["rows"] if p["measure"] == measure else ():
            told = {}
            for head in HEADS:
                if seeds := seeds_of(row.get(head, 0.0)):
                    told[head] = " / ".join(f"{seed:.2f}" for seed in seeds)
                    if contradicted(row[head]):
                        told[head] += f", mean {np.mean(seeds):.2f}, printed {row[head][0]:.2f}"
            if told:
                rows.append({"set": row["set"], "by": row["by"], **{head: told.get(head) for head in HEADS}})
    order = list(dict.fromkeys(row["set"] for row in rows))
    return sorted(rows, key=lambda row: order.index(row["set"]))


def here(measured: Mapping[str, Mapping[str, list[dict[str, float]]]]) -> list[Published]:
    """What else is known of our own runs, a line a set and head."""
    return [
        {"set": name, **line_of(head, found)}
        for name, heads in measured.items()
        for head, found in heads.items()
        if found
    ]


def page(
    measured: Mapping[str, Mapping[str, list[dict[str, float]]]],
    published: list[dict[str, Any]],
    left_out: Mapping[str, str],
) -> str:
    """All tables and the notes below them, Markdown."""
    parts = []
    heads = {"set": "set", "by": "backbone", "source": "source"} | {head: head for head in HEADS}
    for measure, title in (("mae", "MAE, years"), ("rmse", "RMSE, years")):
        parts.append(f"## {title}\n\n{markdown(lines(measure, measured, published), heads)}")
    if ours := here(measured):
        parts.append(f"## Our own runs by seed\n\n{markdown(ours, {'set': 'set'} | OURS | BIASES)}")
    told = {"set": "set", "by": "backbone"} | {head: head for head in ("CE", "OR", "CORAL")}
    for measure, title in (("mae", "MAE"), ("rmse", "RMSE")):
        parts.append(f"## {title} by seed, as the slides have it\n\n{markdown(seed_lines(measure, published), told)}")
    notes = ["\\*: the printed mean is not that of its seeds, which stand beside it in the tables by seed"]
    notes += dict.fromkeys(f"{p['source']}: {p['note']}" for p in published if p.get("note"))
    notes += [f"{name} was left out: {reason}" for name, reason in left_out.items()]
    parts.append("\n".join(textwrap.fill(f"- {note}", 99, subsequent_indent="  ") for note in notes))
    return "\n\n".join(parts) + "\n"


def into(file: Path, text: str) -> None:
    """Put Markdown into a page, in place of all from its first heading of level two on."""
    head, found, _ = f"\n{file.read_text('utf-8')}".partition("\n## ")
    if not found:
        raise DataError(f"{file} has no heading of level two, in place of which the tables would stand")
    with whole(file) as fresh:
        fresh.write_text(f"{head[1:]}\n{text}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds the sets, and coral-cnn with the lists")
    parser.add_argument("--out", type=Path, default=Path("runs/age-papers"))
    parser.add_argument("--sets", help="by comma  [default: the papers'; to report on, also utkface-here]")
    parser.add_argument("--heads", default=",".join(HEADS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--report", action="store_true", help="train nothing, print what is done")
    parser.add_argument("--into", type=Path, help="a page to put the tables into")
    asked = parser.parse_args()
    wanted = asked.heads.split(",")
    if unknown := set(wanted) - set(HEADS):
        parser.error(f"--heads {','.join(sorted(unknown))}: known are {', '.join(HEADS)}")
    published = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))["published"]
    sets = asked.sets.split(",") if asked.sets else [*PAPERS, *["utkface-here"] * asked.report]
    measured: dict[str, dict[str, list[dict[str, float]]]] = {}
    left_out = {}
    for given in sets:
        name = Path(given).stem
        todo = runs(given, asked.data, asked.out, [int(s) for s in asked.seeds.split(",")], wanted)
        if not asked.report and (reason := reason_against(next(iter(todo.values()))[0])):
            left_out[name] = reason
            continue
        found = measured.setdefault(name, {})
        for (head, _), (config, folder) in todo.items():
            if not asked.report and not (folder / "test.json").is_file():
                train_attribute(config, folder)
            if (folder / "test.json").is_file():
                found.setdefault(head, []).append(figures(folder))
    text = page(measured, published, left_out)
    print(text, end="")
    if asked.into:
        into(asked.into, text)


if __name__ == "__main__":
    main()
