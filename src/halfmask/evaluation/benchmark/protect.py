"""Protect a data set into a folder, as ``halfmask protect --labels`` would, and go on where an earlier run stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path

from tqdm import tqdm

from ...datasets.table import Table
from ...errors import DataError, shown
from ...protecting import pipeline
from ...protecting.engine import Engine
from ...protecting.known import Known
from ...protecting.plan import Job

#: In the folder of a protected set: the pictures that were not protected, a JSON list [key, reason] a line.
LEFT_OUT = "left-out.jsonl"


def protect_table(
    table: Table,
    keys: Collection[str],
    engine: Engine,
    folder: Path,
    *,
    workers: int = 0,
    desc: str = "protecting",
    quiet: bool = False,
) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """Protect the pictures of a table with these keys, by their true labels; gives key → file, and what was left out.

    A picture is written to ``folder/KEY`` in its own format. The label holds for its largest face, others are
    estimated, as for a user with a labels file. Every key is in the mapping, whether or not its file came to be: a
    picture that could not be protected is (key, reason) in the second value, and its absent file counts as a lost face.
    Files of an earlier run that are newer than their photo stay.

    Raises :class:`~halfmask.errors.DataError` when the disk is full or nothing can be written there.
    """
    wanted = set(keys)
    jobs = {row.key: Job(row.path, folder / row.key, row.key) for row in table if row.key in wanted}
    known = {row.path: Known((row.gender,)) for row in table if row.gender is not None}
    record = folder / LEFT_OUT
    left_out = _read(record)
    todo = [job for key, job in jobs.items() if key not in left_out and not _done(job)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            open(record, "a", encoding="utf-8") as file,
            tqdm(
                total=len(jobs),
                initial=len(jobs) - len(todo),
                desc=desc,
                unit="photo",
                mininterval=0.2 if sys.stderr.isatty() else 10,
                disable=quiet or not todo,
            ) as bar,
        ):
            outcomes = pipeline.run(todo, engine, known=known, workers=workers)
            try:
                for outcome in outcomes:
                    bar.update()
                    if outcome.fatal:
                        raise DataError(
                            f"protected photos cannot be written to {shown(folder)}: {outcome.reason}. What is there "
                            "is whole; make room and run the same line again"
                        )
                    if outcome.status in (pipeline.SKIPPED, pipeline.FAILED):
                        reason = outcome.reason or "no face was found"
                        left_out[outcome.job.name] = reason
                        file.write(json.dumps([outcome.job.name, reason]) + "\n")
                        file.flush()
            finally:
                outcomes.close()
    except OSError as error:
        raise DataError(
            f"protected photos cannot be written to {shown(folder)}: {error.strerror or error}. Make room there or "
            "give another output folder, and run the same line again"
        ) from error
    return (
        {key: job.output for key, job in jobs.items()},
        [(key, reason) for key, reason in left_out.items() if key in jobs],
    )


def _done(job: Job) -> bool:
    """Whether a picture is there and newer than its photo; that it was made in this way, the folder's name says."""
    try:
        return job.output.is_file() and job.output.stat().st_mtime_ns > job.source.stat().st_mtime_ns
    except OSError:
        return False


def _read(record: Path) -> dict[str, str]:
    """What an earlier run left out; a last line that a killed run wrote half does not count."""
    reasons: dict[str, str] = {}
    if record.is_file():
        for line in record.read_text("utf-8").splitlines():
            try:
                key, reason = json.loads(line)
            except ValueError:
                continue
            reasons[key] = reason
    return reasons
