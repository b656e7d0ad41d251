"""Data sets: one reader a published layout → Table, pairs, subject-disjoint splits, and a check of what is there."""

from halfmask.datasets.pairs import Pair, Pairs, lfw_pairs, one_pair_each, read_pairs
from halfmask.datasets.readers import READERS, read, recognise
from halfmask.datasets.splits import most_people, subject_disjoint
from halfmask.datasets.table import Row, Split, Table, concat

__all__ = [
    "READERS",
    "Pair",
    "Pairs",
    "Row",
    "Split",
    "Table",
    "concat",
    "lfw_pairs",
    "most_people",
    "one_pair_each",
    "read",
    "read_pairs",
    "recognise",
    "subject_disjoint",
]
