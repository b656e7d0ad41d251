"""``halfmask serve``: a page and a REST API around the engine, for photos that stay on this machine.

A request passes, in this order: :mod:`~halfmask.serving.guard` (who asks), a route of
:mod:`~halfmask.serving.routes` (what is asked, by :mod:`~halfmask.serving.asking` and
:mod:`~halfmask.serving.bodies`), :class:`~halfmask.serving.work.Desk` (when it is its turn),
:class:`~halfmask.serving.studio.Studio` (the work, on :mod:`halfmask.protecting.engine`), and
:class:`~halfmask.serving.memory.Shelf` (what is kept, how long). Nothing here writes a file.
"""
