"""Rectangles that hold the parts of a picture where something is to be looked for, and little else."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.bool_]
#: Columns and rows of cells, from the first to the one after the last: (x0, y0, x1, y1).
Cells = tuple[int, int, int, int]

_DEAR = 8  # cells that one rectangle more costs


def cover(grid: Grid, most: int, lap: int) -> list[Cells]:
    """Rectangles of at most ``most`` cells a side that hold every cell that is set, and few others.

    Where a cut goes through such cells both sides have ``lap`` cells in common, so what is smaller than these stands
    whole in one of them. ``most`` is more than ``lap``.

    >>> grid = np.zeros((16, 36), bool)
    >>> grid[4:8, 4:8] = grid[8:, 32:] = True
    >>> cover(grid, 30, 3)
    [(4, 4, 8, 8), (32, 8, 36, 16)]
    """
    found: list[Cells] = []
    _cover(np.asarray(grid, bool), 0, 0, most, lap, found)
    return found


def _cover(grid: Grid, x: int, y: int, most: int, lap: int, found: list[Cells]) -> None:
    rows, columns = np.flatnonzero(grid.any(1)), np.flatnonzero(grid.any(0))
    if not len(rows):
        return
    grid = grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    x, y = x + int(columns[0]), y + int(rows[0])
    high, wide = grid.shape
    # costs, each with where to cut: no cut, one from top to bottom, one from left to right
    ways = [(np.inf if max(high, wide) > most else float(_cost(wide, high, most, lap)), 0, 0, 0)]
    if high <= most or wide > most:
        ways.append((*_best_cut(grid, most, lap), 1))
    if wide <= most or high > most:
        ways.append((*_best_cut(grid.T, most, lap), 2))
    _, end, start, axis = min(ways)
    if axis == 0:
        found.append((x, y, x + wide, y + high))
    elif axis == 1:
        _cover(grid[:, :end], x, y, most, lap, found)
        _cover(grid[:, start:], x + start, y, most, lap, found)
    else:
        _cover(grid[:end], x, y, most, lap, found)
        _cover(grid[start:], x, y + start, most, lap, found)


def _best_cut(grid: Grid, most: int, lap: int) -> tuple[float, int, int]:
    """Cost of the best cut from top to bottom, where the left part ends, and where the right one begins."""
    wide = grid.shape[1]
    cuts = np.arange(1, wide)
    beside = cv2.dilate(grid.view(np.uint8), np.ones((3, 1), np.uint8)).astype(bool)
    joined = (grid[:, :-1] & beside[:, 1:]).any(0)
    ends, starts = cuts + joined * (lap - lap // 2), cuts - joined * (lap // 2)
    inside = (ends < wide) & (starts > 0)
    if not inside.any():
        return np.inf, wide, 0
    costs = _parts(grid, most, lap)[ends.clip(max=wide)] + _parts(grid[:, ::-1], most, lap)[wide - starts.clip(min=0)]
    costs = np.where(inside, costs + np.abs(2 * cuts - wide) / (4 * wide), np.inf)  # of equal ones the middle one
    best = int(costs.argmin())
    return float(costs[best]), int(ends[best]), int(starts[best])


def _parts(grid: Grid, most: int, lap: int) -> NDArray[np.float64]:
    """What the first 0, 1, ... columns cost."""
    high, wide = grid.shape
    some = grid.any(0)
    top = np.where(some, grid.argmax(0), high)
    bottom = np.where(some, high - grid[::-1].argmax(0), 0)
    tall = np.maximum.accumulate(bottom) - np.minimum.accumulate(top)
    broad = np.maximum.accumulate(np.where(some, np.arange(1, wide + 1), 0))
    return np.concatenate([[0.0], np.where(tall > 0, _cost(broad, tall, most, lap), 0.0)])


def _cost(wide: NDArray[np.int_] | int, high: NDArray[np.int_] | int, most: int, lap: int) -> NDArray[np.float64]:
    """Cells to search in rectangles of that size, what they have in common counted as often as it is searched."""
    across, down = (np.maximum(1, np.ceil((np.asarray(n) - lap) / (most - lap))) for n in (wide, high))
    return np.asarray((wide + (across - 1) * lap) * (high + (down - 1) * lap) + _DEAR * across * down, np.float64)
