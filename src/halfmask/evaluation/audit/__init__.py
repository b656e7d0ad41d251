"""Two folders, before and after protection, and the report of what can be said of them: ``halfmask audit``."""
