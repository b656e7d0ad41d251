"""Deidentify against recognisers that nobody attacked: matching, looks and soft attributes before and after.

For so many people of some folds of LFW's view 2, one genuine pair each: the first photo stays as it is, the second is
put through ``halfmask deidentify`` into a folder, and both are measured as files. TMR at thresholds that give FMR 1 %
on the originals, every two photos of different people being an impostor pair. Ages come from UTKFace (--ages photos),
since LFW knows none; on LFW stands how far the age that a referee reads moves.

A variant is a strength and settings of the method, such as "mid" or "mid steps=24 smoothing=0"; one of another method
begins with its name, such as "stranger mid weights=runs/stranger". Photos and answers are
kept in --out, so that an interrupted run, or one with more people or variants, goes on where it was. With --prepared,
the same photos by recognisers that know the method: washed first, or with a head that learned from half of the people.

    python scripts/deidentify.py --folds 2-4 --people 300 --variant low --variant mid --variant high
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from halfmask.datasets import lfw_pairs, read
from halfmask.datasets.table import Table
from halfmask.drawing import BLUE, GRAY, ORANGE, canvas, save
from halfmask.evaluation.attackers.recognising import recognise
from halfmask.evaluation.benchmark.protect import protect_table
from halfmask.evaluation.measuring.protocol import BEFORE, Measured, measure
from halfmask.evaluation.measuring.summary import Published, age_rows, gender_rows, looks_rows, match_rows
from halfmask.evaluation.referees import Referees, load
from halfmask.methods import METHODS
from halfmask.protecting import pipeline
from halfmask.protecting.options import Options
from halfmask.tabular import markdown

FMR = 0.01
COLOURS = {"dlib": ORANGE, "w600k_mbf": BLUE}
HEADS = {
    "variant": "variant",
    "mssim": "MSSIM|.3f",
    "rms": "RMS, levels|.1f",
    "tmr dlib": "TMR dlib|.1%",
    "tmr w600k_mbf": "TMR w600k_mbf|.1%",
    "gender face-api": "gender face-api|.1%",
    "gender gender-v1": "gender gender-v1|.1%",
    "gender ssrnet-gender": "gender SSR-Net|.1%",
}


def people_of(data: Path, folds: Sequence[int], people: int) -> tuple[Table, list[str]]:
    """LFW cut down to one genuine pair each of so many people, drawn by lot, and the keys of the second photos."""
    table = read("lfw", data / "lfw")
    who = {row.key: row.identity for row in table}
    pairs = {who[p.a]: (p.a, p.b) for p in lfw_pairs(data / "lfw") if p.same and p.fold in folds}
    names = sorted(pairs, key=str)
    drawn = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:people]]  # more people keep the first
    keys = {key for name in drawn for key in pairs[name]}
    return table.where(lambda row: row.key in keys), [pairs[name][1] for name in drawn]


def aged(data: Path, photos: int) -> tuple[Table, list[str]]:
    """So many photos of UTKFace, drawn by lot."""
    table = read("utkface", data / "utkface")
    known = [row for row in table if row.age is not None]
    drawn = [known[i] for i in np.random.default_rng(0).permutation(len(known))[:photos]]
    return replace(table, rows=drawn), [row.key for row in drawn]


def run(
    table: Table, keys: Sequence[str], variants: Sequence[str], out: Path, referees: Referees, workers: int
) -> dict[str, Measured]:
    """Put the photos through every variant, and measure the files."""
    files = {}
    for variant in variants:
        words = variant.split()
        method = words.pop(0) if words[0] in METHODS else "deidentify"
        strength, *settings = words
        options = Options(
            method=method, strength=strength, settings=dict(s.split("=", 1) for s in settings), if_no_face="fail"
        )
        engine = pipeline.load(options, workers=workers, photos=len(keys))
        name = variant.replace(" ", ",").replace("/", "_")
        files[name], left_out = protect_table(
            table, keys, engine, out / table.name / name, workers=workers, desc=f"{table.name}, {variant}"
        )
        for key, why in left_out:
            print(f"{variant}: {key}: {why}")
    return measure(table, files, referees=referees, folder=out / "measured", workers=workers)


def rows_of(measured: Mapping[str, Measured], referees: Referees) -> list[Published]:
    """One row a variant: TMR, accuracy of the gender, how far ages move, and looks."""
    rows: dict[str, Published] = {name: {"variant": name, "mssim": None, "rms": None} for name in measured}
    for row in match_rows(measured, referees.matchers, fmrs=(FMR,)):
        name = f"tmr {row['matcher']}"
        rows[row["variant"]] |= {name: row["tmr@0.01"], "genuine": row["genuine"], "impostors": row["impostors"]}
        rows[row["variant"]] |= {f"{name} {end}": row[f"tmr@0.01_{end}"] for end in ("low", "high")}
    for row in gender_rows(measured):
        name = f"gender {row['referee']}"
        for end, error in {name: "error", f"{name} low": "error_high", f"{name} high": "error_low"}.items():
            rows[row["variant"]][end] = None if row.get(error) is None else 1 - row[error]
    for row in looks_rows(measured):
        side = 3 * 224 * 224
        rows[row["variant"]] |= {
            "mssim": row["mssim"], "mssim low": row["mssim_low"], "mssim high": row["mssim_high"], "lost": row["lost"],
            "rms": 255 * row["l2"] / side**0.5,
        }  # fmt: skip
    before = measured[BEFORE]
    for name, m in measured.items():
        for referee in referees.ages:
            moved = np.abs(m.columns[f"age/{referee}"] - before.columns[f"age/{referee}"])[m.attempted & m.enrolled]
            rows[name][f"moved {referee}"] = float(moved.mean())
    return list(rows.values())


def prepared(
    measured: Mapping[str, Measured], table: Table, keys: Sequence[str], out: Path, referees: Referees
) -> list[Published]:
    """The rows of recognisers that know the method, of every variant."""
    rows = []
    for name in measured:
        if name != BEFORE:
            files = {key: out / table.name / name / key for key in keys}
            both = {side: measured[side] for side in (BEFORE, name)}
            found = recognise(both, files, referees.matchers, folder=out / "measured", fmrs=(FMR,))
            rows += [{"of": name, **row} for row in found]
    return rows


def draw(rows: Sequence[Published], file: Path) -> None:
    """TMR against MSSIM, a line a referee, from the original at MSSIM 1 to the strongest variant."""
    with canvas(6.4, 4.2) as (figure, grid):
        axes = grid[0, 0]
        axes.axhspan(0, 0.3, xmax=1, color="#eeeeee", zorder=0)
        axes.axvline(0.95, color=GRAY, linewidth=1, linestyle=":", zorder=1)
        ordered = sorted(rows, key=lambda r: -float(r.get("mssim") or 1))
        for referee, colour in COLOURS.items():
            name = f"tmr {referee}"
            x = [float(r.get("mssim") or 1) for r in ordered]
            y = np.array([[r[name], r[f"{name} low"], r[f"{name} high"]] for r in ordered], float)
            ends = [y[:, 0] - y[:, 1], y[:, 2] - y[:, 0]]
            axes.errorbar(x, y[:, 0], yerr=np.clip(ends, 0, None), color=colour, marker="o", capsize=3, label=referee)
        for row in ordered:
            place = (float(row.get("mssim") or 1), max(float(row[f"tmr {r}"]) for r in COLOURS))
            axes.annotate(str(row["variant"]), place, (4, 6), textcoords="offset points", fontsize=8)
        axes.set(xlabel="MSSIM of the face (1 is equal)", ylabel="TMR at FMR 1 %", ylim=(0, 1.08))
        axes.invert_xaxis()
        axes.set_title("Recognisers that were not attacked; gray: the aim of 30 %")
        axes.legend()
        save(figure, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/deidentify"))
    parser.add_argument("--folds", default="2-4", help="folds of LFW's view 2, first-last; 0-1 are for choosing")
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--ages", type=int, default=0, help="photos of UTKFace, for the error of ages")
    parser.add_argument("--variant", action="append", dest="variants", help="[METHOD] STRENGTH [NAME=VALUE ...]")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--prepared", action="store_true", help="also recognisers that know the method")
    parser.add_argument("--figure", type=Path, help="PNG for the curve")
    asked = parser.parse_args()
    variants = asked.variants or ["low", "mid", "high"]
    first, _, last = asked.folds.partition("-")
    folds = range(int(first), int(last or first) + 1)
    referees = load(threads=1, only=["dlib", "w600k_mbf", "face-api", "gender-v1", "ssrnet-gender", "ssrnet-age"])
    table, keys = people_of(asked.data, folds, asked.people)
    measured = run(table, keys, variants, asked.out, referees, asked.workers)
    rows = rows_of(measured, referees)
    print(f"{len(keys)} people of LFW, folds {asked.folds}; {rows[0]['genuine']} genuine pairs, "
          f"{rows[0]['impostors']} impostor pairs for the thresholds\n")  # fmt: skip
    moved = {f"moved {name}": f"age moved, {name}|.1f" for name in referees.ages}
    print(markdown(rows, HEADS | moved))
    found = {"lfw": rows}
    if asked.prepared:
        found["prepared"] = prepared(measured, table, keys, asked.out, referees)
        heads = {"of": "variant", "attack": "preparation", "variant": "photos", "matcher": "matcher"}
        heads |= {"n_train": "learned from", "people": "people", "tmr@0.01": "TMR at FMR 1 %|.1%"}
        print("\n" + markdown(found["prepared"], heads | {"tmr@0.01_low": "95 % from|.1%", "tmr@0.01_high": "to|.1%"}))
    if asked.ages:
        table, keys = aged(asked.data, asked.ages)
        told = age_rows(run(table, keys, variants, asked.out, referees, asked.workers), table)
        heads = {"variant": "variant", "referee": "referee", "n": "faces", "lost": "lost", "mae": "MAE, years|.2f"}
        print("\n" + markdown(told, heads | {"mae_low": "95 % from|.2f", "mae_high": "to|.2f"}))
        found["utkface"] = [dict(row) for row in told]
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / f"folds-{asked.folds}.json").write_text(json.dumps(found, indent=1), "utf-8")
    if asked.figure:
        draw(rows, asked.figure)


if __name__ == "__main__":
    main()
