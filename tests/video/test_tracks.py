"""Faces followed from frame to frame: who is who, what is bridged and what is told."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from films import BLUE, GREEN, HEIGHT, RED, WIDTH, Squares, follow, picture, walk

from halfmask.photos.detect import _usual_points
from halfmask.video import tracks

SIZE = (WIDTH, HEIGHT)


def seen(follower: tracks.Follower) -> tuple[list[tracks.Person], dict[int, list[tracks.Place]], list[tracks.Gap]]:
    persons = tracks.people(follower.finish())
    where, gaps = tracks.places(persons, follower.times, follower.cuts, SIZE)
    return persons, where, gaps


def gone(frames: int, absent: range, step: int = 0) -> list[np.ndarray]:
    """A square in the middle that is not there in some frames."""
    return [picture({} if i in absent else {RED: (40 + step * i, 30, 32)}) for i in range(frames)]


def test_a_face_that_walks_is_one_person_in_every_frame(eyes: Squares) -> None:
    persons, where, gaps = seen(follow(eyes, walk(15)))
    assert len(persons) == 1
    assert gaps == []
    assert sorted(where) == list(range(15))
    middles = np.array([where[i][0].points.mean(0) for i in range(15)])
    assert np.diff(middles, axis=0)[:, 0] == pytest.approx(3.0, abs=0.2)  # smoothing does not lag behind
    assert eyes.calls["full"] < 6 < eyes.calls["glance"]


def test_a_short_gap_is_bridged_by_points_between(eyes: Squares) -> None:
    _, where, gaps = seen(follow(eyes, gone(24, range(8, 14), step=1)))
    assert gaps == []
    assert [where[i][0].seen for i in (7, 8, 13, 14)] == [True, False, False, True]
    middle = where[11][0].points.mean(0)[0]
    assert middle == pytest.approx(40 + 11 + 16, abs=1.5)


def test_a_gap_of_more_than_half_a_second_is_told_with_its_times(eyes: Squares) -> None:
    persons, where, gaps = seen(follow(eyes, gone(40, range(10, 30))))
    assert len(persons) == 1
    assert [(gap.start, gap.end) for gap in gaps] == [(pytest.approx(0.4), pytest.approx(1.2))]
    assert str(gaps[0]) == "person 1 from 0:00:00.40 to 0:00:01.20: not found, though seen before and after"
    assert not {10, 20, 29} & set(where)


def test_who_leaves_at_the_edge_and_comes_back_there_is_no_gap(eyes: Squares) -> None:
    steps = [*range(0, 40, 4), *[-60] * 20, *range(40, 0, -4)]
    _, _, gaps = seen(follow(eyes, [picture({RED: (WIDTH - 60 + s, 30, 30)} if s >= 0 else {}) for s in steps]))
    assert gaps == []


def test_what_a_cut_took_away_is_no_gap_and_the_person_is_the_same_after_it(eyes: Squares) -> None:
    shots = [picture({RED: (40, 30, 32)})] * 8 + [picture({}, ground=220)] * 20 + [picture({RED: (70, 20, 40)})] * 8
    follower = follow(eyes, shots)
    persons, where, gaps = seen(follower)
    assert follower.cuts == [8, 28]
    assert len(persons) == 1
    assert gaps == []
    assert set(where) == {*range(8), *range(28, 36)}


def test_a_cut_is_not_smoothed_across(eyes: Squares) -> None:
    shots = [picture({RED: (20, 30, 32)})] * 8 + [picture({RED: (80, 50, 32)}, ground=200)] * 8
    _, where, _ = seen(follow(eyes, shots))
    assert where[7][0].points.mean(0)[0] == pytest.approx(20 + 16, abs=0.5)
    assert where[8][0].points.mean(0)[0] == pytest.approx(80 + 16, abs=0.5)


def test_two_who_cross_keep_their_places(eyes: Squares) -> None:
    shots = [picture({GREEN: (90 - 4 * i, 34, 26), RED: (4 + 4 * i, 30, 32)}) for i in range(22)]
    persons, where, gaps = seen(follow(eyes, shots))
    assert len(persons) == 2
    assert gaps == []  # green is hidden by red, not lost
    for i in (2, 20):
        by_person = {place.person: float(place.points.mean(0)[0]) for place in where[i]}
        red = min(by_person.values(), key=lambda x: abs(x - (4 + 4 * i + 16)))
        assert red == pytest.approx(4 + 4 * i + 16, abs=2)
    names = [next(p.person for p in where[i] if abs(p.points.mean(0)[0] - (4 + 4 * i + 16)) < 3) for i in (2, 20)]
    assert names[0] == names[1]


def test_a_face_that_is_found_late_is_followed_back(eyes: Squares) -> None:
    shots = walk(14, start=30, step=1)
    columns = {image.tobytes(): i for i, image in enumerate(shots)}
    eyes.blind["full"] = eyes.blind["glance"] = lambda image: columns[image.tobytes()] < 8
    persons, where, _ = seen(follow(eyes, shots))
    assert len(persons) == 1
    assert sorted(where) == list(range(14))  # as far back as half a second


def test_somebody_else_in_the_same_place_is_another_person(eyes: Squares) -> None:
    shots = [picture({RED: (40, 30, 32)})] * 8 + [picture({BLUE: (40, 30, 32)})] * 12
    persons, _, _ = seen(follow(eyes, shots))
    assert len(persons) == 2


def test_two_of_one_look_in_one_frame_are_two_people() -> None:
    one, two = (tracks.Track({3: face}, 3, descriptors=[np.array([1.0, 0.0], np.float32)]) for face in faces(2))
    assert len(tracks.people([one, two])) == 2


def test_a_face_whose_turn_is_in_doubt_is_told_of(eyes: Squares) -> None:
    full = eyes.full
    eyes.full = lambda image: [replace(face, doubt="which way up it is cannot be told") for face in full(image)]  # type: ignore[method-assign]
    eyes.blind["glance"] = lambda _: True
    eyes.blind["again"] = lambda _: True
    _, _, gaps = seen(follow(eyes, [picture({RED: (40, 30, 32)})] * 3))
    assert [(gap.start, gap.reason) for gap in gaps] == [(0.0, "which way up it is cannot be told")]


def test_only_a_few_frames_are_kept(eyes: Squares, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "KEPT", 5 * WIDTH * HEIGHT)
    follower = follow(eyes, walk(20))
    assert len(follower._kept) == 5
    assert all(len(track.crops) <= tracks.CROPS for track in follower.tracks)


def test_smoothing_takes_the_jitter_and_leaves_the_way(rng: np.random.Generator) -> None:
    times = [0.04 * i for i in range(50)]
    way = np.linspace(0, 100, 50, dtype=np.float32)[:, None, None] * np.ones((1, 5, 2), np.float32)
    noisy = way + rng.normal(0, 1, way.shape).astype(np.float32)
    after = tracks.smoothed(noisy, times)
    assert np.abs(after - way).std() < 0.6 * np.abs(noisy - way).std()
    assert (after - way).mean() == pytest.approx(0, abs=0.2)


def test_texture_tells_a_fraction_of_a_pixel(astronaut: np.ndarray) -> None:
    box = (175.0, 75.0, 90.0, 120.0)
    face = tracks.Face(box, _usual_points(box), 0.95)
    move = cv2.getRotationMatrix2D((220, 130), 0.8, 1.01)
    move[:, 2] += (1.37, -0.22)
    after = cv2.warpAffine(astronaut, move, (512, 512), flags=cv2.INTER_CUBIC)
    jumped = replace(face, points=face.points + np.float32([2.2, 0.5]))
    found = tracks.movement(astronaut, after, face, jumped)
    assert found is not None
    at = np.array([[190.0, 100.0], [250.0, 170.0], [220.0, 130.0]])
    assert at @ found[:, :2].T + found[:, 2] == pytest.approx(at @ move[:, :2].T + move[:, 2], abs=0.08)


def test_a_face_without_texture_and_one_that_goes_elsewhere_tell_no_movement(astronaut: np.ndarray) -> None:
    box = (175.0, 75.0, 90.0, 120.0)
    face = tracks.Face(box, _usual_points(box), 0.95)
    flat = np.full((300, 300, 3), 90, np.uint8)
    assert tracks.movement(flat, flat, face, face) is None
    elsewhere = replace(face, points=face.points + np.float32([30, 0]))
    assert tracks.movement(astronaut, astronaut, face, elsewhere) is None


def test_points_that_jump_hold_still_in_a_face_that_moves(rng: np.random.Generator) -> None:
    one = np.array([[1.001, 0.01, 1.3], [-0.01, 1.001, 0.4]])
    way = [rng.uniform(20, 60, (5, 2))]
    for _ in range(39):
        way.append(way[-1] @ one[:, :2].T + one[:, 2])
    noisy = np.array(way, np.float32) + rng.normal(0, 1, (40, 5, 2)).astype(np.float32)
    after = tracks.held(noisy, [one] * 39, [0.04 * i for i in range(40)])
    steps = np.diff(after - np.array(way), axis=0)
    assert np.abs(after - way).std() < 0.35 * np.abs(noisy - way).std()
    assert np.abs(steps).max() < 0.15  # from frame to frame nothing jumps


def faces(count: int) -> list[tracks.Face]:
    points = np.zeros((5, 2), np.float32)
    return [tracks.Face((50.0 * i, 0.0, 20.0, 20.0), points, 0.9) for i in range(count)]
