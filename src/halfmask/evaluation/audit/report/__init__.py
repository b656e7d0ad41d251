"""An audit's results as one page that a person can read, as tables that a program can, and as ``results.json``.

:func:`write` puts all three into a folder, :func:`render` gives the page alone, :func:`findings` the verdict alone.
Needs ``halfmask[audit]`` (jinja2, matplotlib), which is imported when a page is made.
"""

from .images import Picture
from .page import render
from .scale import Finding
from .verdict import findings
from .writing import write

__all__ = ["Finding", "Picture", "findings", "render", "write"]
