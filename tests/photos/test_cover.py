"""Rectangles hold all that is set, and what fits into their overlap stands whole in one of them."""

from __future__ import annotations

import numpy as np
import pytest

from halfmask.photos.cover import cover

MOST, LAP = 20, 3


@pytest.mark.parametrize("seed", range(20))
def test_every_small_square_stands_whole_in_a_rectangle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = np.zeros((int(rng.integers(1, 70)), int(rng.integers(1, 90))), bool)
    squares = []
    for _ in range(int(rng.integers(1, 40)) if seed else 400):
        x, y = int(rng.integers(grid.shape[1])), int(rng.integers(grid.shape[0]))
        squares.append((x, y, min(x + LAP, grid.shape[1]), min(y + LAP, grid.shape[0])))
        grid[y : y + LAP, x : x + LAP] = True
    found = cover(grid, MOST, LAP)
    for x0, y0, x1, y1 in squares:
        assert any(a <= x0 and b <= y0 and x1 <= c and y1 <= d for a, b, c, d in found), (x0, y0)
    assert all(0 < c - a <= MOST and 0 < d - b <= MOST for a, b, c, d in found)
    again = np.zeros_like(grid)
    for a, b, c, d in found:
        assert c <= grid.shape[1]
        assert d <= grid.shape[0]
        again[b:d, a:c] = True
    assert again[grid].all()


def test_what_is_empty_costs_little() -> None:
    assert cover(np.zeros((50, 50), bool), MOST, LAP) == []
    few = np.zeros((60, 80), bool)
    few[2:6, 3:7] = few[50:54, 70:74] = few[2:6, 60:64] = True
    assert sorted(cover(few, MOST, LAP)) == [(3, 2, 7, 6), (60, 2, 64, 6), (70, 50, 74, 54)]


def test_all_of_it_is_searched_once_and_little_more() -> None:
    full = np.ones((60, 80), bool)
    area = sum((c - a) * (d - b) for a, b, c, d in cover(full, MOST, LAP))
    assert full.size < area < 1.4 * full.size
