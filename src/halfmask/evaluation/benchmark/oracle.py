"""The best of several outputs, chosen by who knows the answer: an upper bound for evaluations, never a method.

An Ensemble SAN makes n outputs so that "at least one of the perturbed output faces will confound an arbitrary,
previously unseen gender classifier" (Mirjalili, Raschka, Ross 2018). To tell which one takes the true label and that
very classifier. No user has both, so this is measured and not offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import DataError
from ..measuring.protocol import Measured


def oracle(members: Sequence[Measured], referee: str, name: str = "oracle") -> Measured:
    """For each picture, the member whose output this gender ``referee`` gets most wrong.

    That is the lowest probability of the true gender; a member whose output was lost (no face found in it) is taken
    only when all are, since a face that is gone has not confounded anybody. A picture of unknown gender gets the first
    member that was not lost. Everything comes from the chosen member, so matching and looks are those of what would
    have been given out. ``members`` were measured on one table, in one order.

    Raises :class:`~halfmask.errors.DataError` when they were not, or were not asked by that referee.

    >>> def asked(p):
    ...     yes = np.ones(2, bool)
    ...     return Measured("m", ["a", "b"], np.array([1, 0]), [None] * 2, yes, yes, {"p_male/r": np.array(p)})
    >>> oracle([asked([0.9, 0.2]), asked([0.4, 0.1])], "r").columns["p_male/r"].tolist()
    [0.4, 0.2]
    """
    if not members:
        raise DataError("an oracle has nothing to choose from; expected at least one measured member")
    first, column = members[0], f"p_male/{referee}"
    for other in members:
        if other.keys != first.keys:
            raise DataError(f"{other.variant} was measured on other pictures than {first.variant}; measure one table")
        if column not in other.columns:
            asked = ", ".join(other.answers("p_male"))
            raise DataError(f"{other.variant} was not asked by the gender referee {referee!r}; it has: {asked}")
    p_male = np.stack([m.columns[column] for m in members]).astype(np.float64)  # (members, pictures)
    truth = np.where(first.gender == 1, p_male, np.where(first.gender == 0, 1 - p_male, 0.0))
    enrolled = np.stack([m.enrolled for m in members])
    best = np.where(enrolled, truth, np.inf).argmin(0)
    rows = np.arange(len(first))
    columns = {
        key: np.stack([m.columns[key] for m in members])[best, rows]
        for key in first.columns
        if all(key in m.columns for m in members)
    }
    return replace(
        first,
        variant=name,
        enrolled=enrolled[best, rows],
        attempted=np.stack([m.attempted for m in members])[best, rows],
        columns=columns,
        problems=[problem for m in members for problem in m.problems],
    )
