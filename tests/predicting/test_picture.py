"""Frames and captions: where they are, that they can be read, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from halfmask.photos import drawing, reading
from halfmask.photos.drawing import Drawing
from halfmask.photos.photo import Photo
from halfmask.predicting.api import Prediction, predict
from halfmask.predicting.picture import caption, captions


def drawings(width: int, height: int, faces: list[Prediction]) -> list[Drawing]:
    return drawing.drawings(width, height, captions(faces))


def captioned(photo: Photo, faces: list[Prediction]) -> Photo:
    return drawing.captioned(photo, captions(faces))


def face(x: float, y: float, w: float, h: float, race: str | None = "White") -> Prediction:
    said = {"gender": {"female": 0.97, "male": 0.03}, "age": {"20-29": 1.0}, "race": {race or "": 0.61}}
    return Prediction((x, y, w, h), np.zeros((5, 2), np.float32), 0.9, "female", 24.6, (20, 29), race, said)


def drawn_on(shape: tuple[int, ...], faces: list[Prediction]) -> np.ndarray:
    """Where something may be drawn."""
    mask = np.zeros(shape[:2], bool)
    for d in drawings(shape[1], shape[0], faces):
        for x0, y0, x1, y1 in (d.frame, d.caption):
            mask[y0:y1, x0:x1] = True
    return mask


def test_caption_leaves_out_what_is_not_read() -> None:
    assert caption(face(0, 0, 9, 9)) == "female 97 %\n25 (20-29)\nWhite 61 %"
    assert caption(face(0, 0, 9, 9, None)) == "female 97 %\n25 (20-29)"


def test_only_frames_and_captions_change(onnx_file: Path, couple: np.ndarray) -> None:
    faces = predict(couple, network=onnx_file)
    after = captioned(reading.read(couple), faces).samples
    mask = drawn_on(couple.shape, faces)
    assert after.shape == couple.shape
    assert after.dtype == np.uint8
    assert np.array_equal(after[~mask], couple[~mask])
    for d, found in zip(drawings(640, 256, faces), faces, strict=True):
        x0, y0, x1, y1 = d.frame
        assert (x0, y0) == (round(found.box[0]), round(found.box[1]))
        middle = (slice((y0 * 3 + y1) // 4, (y0 + y1) // 2), slice((x0 * 3 + x1) // 4, (x0 + x1) // 2))
        assert np.array_equal(after[middle], couple[middle]), "the face itself can be seen"
        assert (after[y0, x0:x1] == 0).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_readable_on_any_background(level: int) -> None:
    paper = np.full((240, 320, 3), level, np.uint8)
    after = captioned(reading.read(paper), [face(40, 30, 80, 100)]).samples
    (d,) = drawings(320, 240, [face(40, 30, 80, 100)])
    x0, y0, x1, y1 = d.caption
    box = after[y0:y1, x0:x1]
    dark, light = (box < 40).all(-1).mean(), (box > 200).all(-1).mean()
    assert 0.6 < dark < 0.95
    assert light > 0.04
    edge = np.concatenate([box[0], box[-1], box[:, 0], box[:, -1]])
    assert (edge == 0).all(), "no letter is cut off"
    column = after[80, 40:44].tolist()
    assert [0, 0, 0] in column
    assert [255, 255, 255] in column, "a frame is seen on white and on black"


def test_captions_keep_out_of_the_way() -> None:
    faces = [face(100, 100, 60, 80), face(165, 110, 60, 80), face(110, 430, 60, 80), face(590, 10, 60, 80)]
    found = drawings(600, 512, faces)
    boxes = [d.caption for d in found]
    assert all(x0 >= 0 and y0 >= 0 and x1 <= 600 and y1 <= 512 for x0, y0, x1, y1 in boxes)
    marks = np.zeros((512, 600), int)
    for x0, y0, x1, y1 in (*boxes, *(d.frame for d in found)):
        marks[y0:y1, x0:x1] += 1
    assert marks.max() == 1


def test_small_pictures_get_small_letters() -> None:
    (d,) = drawings(64, 48, [face(10, 5, 30, 40, "Southeast Asian")])
    assert 6 <= d.letters < 11
    assert 0 <= d.caption[0] < d.caption[2] <= 64
    assert 0 <= d.caption[1] < d.caption[3] <= 48
    captioned(reading.read(np.zeros((9, 9, 3), np.uint8)), [face(-4, -4, 40, 40), face(7, 7, 5, 5)])


@pytest.mark.parametrize(
    ("shape", "kind", "mode"),
    [((200, 300), np.uint8, "RGB"), ((200, 300, 4), np.uint8, "RGBA"), ((200, 300, 3), np.uint16, "RGB")],
)
def test_other_modes(shape: tuple[int, ...], kind: type, mode: str, rng: np.random.Generator) -> None:
    photo = reading.read(rng.integers(0, np.iinfo(kind).max, shape).astype(kind))
    faces = [face(100, 20, 70, 80)]
    after = captioned(photo, faces)
    assert after.mode == mode
    mask = drawn_on(shape, faces)
    assert np.array_equal(after.pixels[~mask], photo.pixels[~mask])
    assert not np.array_equal(after.pixels[mask], photo.pixels[mask])
    if mode == "RGBA":
        assert np.array_equal(after.samples[~mask, 3], photo.samples[~mask, 3])
        x0, y0, x1, y1 = drawings(300, 200, faces)[0].caption
        assert (after.samples[y0:y1, x0:x1, 3] == 255).all()


def test_no_face_no_change(astronaut: np.ndarray) -> None:
    assert np.array_equal(captioned(reading.read(astronaut), []).samples, astronaut)
