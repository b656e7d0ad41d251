"""Many photos, in threads: each photo is one task, from its file to its predictions and, where asked, its picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import HalfmaskError, PhotoError, shown
from ..photos import reading
from ..photos.drawing import captioned
from ..photos.reading import MAX_PIXELS
from ..storage import ensure_folder, whole
from .api import Prediction, Predictor
from .picture import captions

#: Told of a picture and the file that is about to become it; what it gives stands around that.
Noting = Callable[[Path, Path], AbstractContextManager[None]]
#: Photos that may be waiting for their turn, for each worker. They hold predictions and no pixels.
_AHEAD = 8


@dataclass(frozen=True, eq=False)
class Seen:
    """What came of one photo, at a path or an address: its size and faces, or, when it failed, the ``error``."""

    source: Path | str
    width: int = 0
    height: int = 0
    faces: tuple[Prediction, ...] = ()
    error: str | None = None


def run(
    jobs: Iterable[tuple[Path, Path | None]],
    predictor: Predictor,
    *,
    faces: str = "all",
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    noting: Noting = lambda picture, part: nullcontext(),
) -> Generator[Seen, None, None]:
    """Look at the photos of the jobs, each a photo and the picture to write or None; gives them in their order.

    Whatever happens to one photo, others go on. No more than ``workers`` photos are in memory at once. When the caller
    stops iterating, no new photo is begun and those begun are waited for, so every picture is whole. ``noting`` is
    told of each picture and the finished file, which takes its name in that context.
    """
    waiting: deque[Future[Seen]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="halfmask") as pool:
        try:
            for source, picture in jobs:
                waiting.append(pool.submit(look, source, source, predictor, faces, max_pixels, picture, noting))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def look(
    source: Path | str,
    photo: Path | bytes,
    predictor: Predictor,
    faces: str = "all",
    max_pixels: int = MAX_PIXELS,
    picture: Path | None = None,
    noting: Noting = lambda picture, part: nullcontext(),
) -> Seen:
    """Look at one photo, which is called ``source``; arguments as those of :func:`run`."""
    try:
        read = reading.read(photo, max_pixels=max_pixels)
        predictions = tuple(predictor(read.pixels, faces))
        if picture is not None:
            ensure_folder(picture.parent, error=PhotoError)
            data = captioned(read, captions(predictions)).encode(read.format)
            with whole(picture, error=PhotoError, placing=partial(noting, picture)) as fresh:
                fresh.write_bytes(data)
        return Seen(source, read.width, read.height, predictions)
    except Exception as error:  # one bad file never stops the rest
        return unseen(source, error)


def unseen(source: Path | str, error: Exception) -> Seen:
    """What came of a photo at which something was raised."""
    known = isinstance(error, HalfmaskError)
    return Seen(source, error=str(error) if known else f"unexpected {type(error).__name__}: {shown(str(error))}")
