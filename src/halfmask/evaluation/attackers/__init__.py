"""Attackers that adapt: each knows the method, learns from its own people, and is judged on other people.

A referee that is fooled says little: whoever knows the method turns its answer round, trains a new classifier on
protected photos, or undoes the change first. Each attacker here is given protected photos with true labels, and the
originals, of its own people (:class:`Evidence`), and is judged on protected photos of people it has never seen:

* ``inverted``: each gender referee with sign and threshold chosen anew;
* ``retrained``: a fresh CNN trained on protected faces;
* ``probe``: a linear classifier on a matcher's descriptors, which protection leaves useful on purpose;
* ``neighbours`` and ``kernel``: the nearest faces' vote, and an RBF support vector machine, on the same descriptors;
* ``recovery``: JPEG, blur, denoising, resizing, or averaging first, then the unchanged referees;
* ``inverse``: a U-Net that learned to undo the change, then the unchanged referees;
* ``detector``: a CNN that tells protected photos from originals.

0.5 is what protection should leave them. See :func:`attack`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ...errors import UsageError
from ...storage import ensure_folder, whole
from ..measuring.figure import Published, published
from ..measuring.protocol import Measured
from ..referees import Referees
from .asking import Case
from .attacks import ATTACKS
from .budget import Budget
from .evidence import Evidence, file_key

__all__ = ["ATTACKS", "Budget", "Evidence", "attack"]


def attack(
    evidence: Evidence,
    referees: Referees,
    *,
    folder: Path,
    budget: Budget = Budget(),  # noqa: B008 - frozen
    only: Collection[str] | None = None,
    outputs: Callable[[Sequence[Path]], Iterable[Sequence[Path]]] | None = None,
    measured: Mapping[str, Measured] | None = None,
    quiet: bool = False,
) -> list[Published]:
    """Run the attackers, all or those named in ``only``, and return one row an attack and reader.

    A row holds ``attack``, ``reader``, ``n_train`` and ``n_test`` (pictures; people where a person's photos are
    averaged), ``balanced_accuracy`` with ``balanced_low`` and ``balanced_high`` and ``auc`` with ``auc_low`` and
    ``auc_high`` (95 % bootstrap by person), ``unattacked_balanced_accuracy`` (the reader on the same protected photos
    without the attack: a referee at its own 0.5, a CNN or probe trained on originals; None for the detector),
    ``originals_balanced_accuracy`` (the reader made in the same way from originals and judged on originals: what there
    was to hide), ``note`` and, when a figure is None, ``refused``. For referees after a recovery, the figure on
    originals is without the recovery. Balanced accuracies of the detector are those of detection.

    ``outputs`` is given original photos and gives several lists of protected versions of them, in the same order;
    recovery then averages them. ``measured`` is a measurement of the same photos by
    :func:`~halfmask.evaluation.measuring.protocol.measure`, whose answers and descriptors need not be asked again.

    Finished attacks are kept in ``folder`` as JSON, and what they computed on the way beside them, so that a killed run
    goes on where it was. ``inverse`` also leaves ``inverse.png`` there: six faces, original above protected above
    recovered.

    Raises :class:`~halfmask.errors.UsageError` for an unknown attack,
    :class:`~halfmask.errors.ExtraMissingError` without torch.
    """
    if unknown := sorted(set(only or ()) - set(ATTACKS)):
        raise UsageError(f"no attack is called {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    ensure_folder(folder)
    case = Case(evidence, referees, folder, budget, quiet, measured, outputs)
    readers = [sorted(referees.genders), sorted(referees.matchers)]
    key = file_key([evidence.digest, asdict(budget), readers, outputs is not None])
    rows: list[Published] = []
    for name, run in ATTACKS.items():
        if only is not None and name not in only:
            continue
        done = folder / f"{name}-{key}.json"
        if not done.is_file():
            judged = run(case)
            if not evidence.persons_known:
                warning = "who is shown is not known: the same person may be on both sides"
                judged = [replace(r, note="; ".join(filter(None, [r.note, warning]))) for r in judged]
            with whole(done) as fresh:
                fresh.write_text(json.dumps(published(judged), indent=1), "utf-8")
        rows += json.loads(done.read_text("utf-8"))
    return rows
