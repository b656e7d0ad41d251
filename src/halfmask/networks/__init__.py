"""The networks of the papers in torch, their weights in files, and auxiliaries by name."""
