"""Weights: our own, shipped inside the package, and the store that finds everybody else's."""
