"""The papers' tables on the data sets at hand: ``halfmask benchmark``."""
