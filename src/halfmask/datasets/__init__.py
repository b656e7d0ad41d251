"""Data sets: one reader a published layout → Table, pairs, subject-disjoint splits, and a check of what is there."""

from halfmask.datasets.readers import READERS, read
from halfmask.datasets.table import Row, Split, Table, concat

__all__ = ["READERS", "Row", "Split", "Table", "concat", "read"]
