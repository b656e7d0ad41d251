"""What the API answers, and that it is what the library and the command line give."""

from __future__ import annotations

import io
import json
import shlex
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from served import client_of
from starlette.routing import Route
from starlette.testclient import TestClient

import halfmask
from halfmask.cli import cli
from halfmask.errors import WeightsError
from halfmask.methods import METHODS
from halfmask.serving.app import ENDPOINTS
from halfmask.serving.limits import Limits
from halfmask.weights import store


def given(client: TestClient, photo: bytes, name: str = "a.jpg") -> dict:
    answer = client.post("/api/v1/photos", content=photo, headers={"X-Halfmask-Name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()


def protected(client: TestClient, id: str, **asked: object) -> dict:
    answer = client.post(f"/api/v1/photos/{id}/protect", json=asked)
    assert answer.status_code == 201, answer.text
    return answer.json()


def file_of(client: TestClient, result: str) -> bytes:
    answer = client.get(f"/api/v1/results/{result}")
    assert answer.status_code == 200, answer.text
    return answer.content


def refused(answer: object, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert len(answer.json()["error"]["id"]) == 12
    return answer.json()["error"]["message"]


def library(photo: bytes, key: str, **asked: object) -> bytes:
    return halfmask.protect(photo, settings={"key": key}, score=False, **asked).photo.encode()


def test_a_photo_goes_in_and_out(client: TestClient, portrait: bytes, key: str) -> None:
    photo = given(client, portrait, "Stra%C3%9Fe%2F1.jpg")
    assert (photo["width"], photo["height"], photo["format"], photo["name"]) == (256, 256, "JPEG", "Straße/1.jpg")
    assert [face["number"] for face in photo["faces"]] == [1]
    result = protected(client, photo["id"])
    assert [face["changed"] for face in result["faces"]] == [True]
    answer = client.get(f"/api/v1/results/{result['id']}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''1.jpg"
    assert answer.content == library(portrait, key)
    assert client.delete(f"/api/v1/photos/{photo['id']}").status_code == 204
    for path in (f"photos/{photo['id']}", f"results/{result['id']}"):
        refused(client.get(f"/api/v1/{path}"), 404, "not_found")


@pytest.mark.parametrize("strength", ["low", 0.31, 1])
def test_the_dial_pastes_again_what_the_library_computes(
    client: TestClient, portrait: bytes, key: str, strength: str | float, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = given(client, portrait)
    protected(client, photo["id"], strength="high")
    monkeypatch.setattr(METHODS["halfmask"].cls, "_change", None)  # it is not asked again
    result = protected(client, photo["id"], strength=strength)
    monkeypatch.undo()
    monkeypatch.setenv("HALFMASK_KEY", key)
    assert file_of(client, result["id"]) == library(portrait, key, strength=strength)


def test_a_face_is_switched_off_and_stays_as_it_was(client: TestClient, pair: bytes, key: str) -> None:
    photo = given(client, pair, "pair.png")
    assert len(photo["faces"]) == 2
    both = protected(client, photo["id"])
    told = client.post(f"/api/v1/photos/{photo['id']}/faces", json={"faces": [{"number": 2, "on": False}]}).json()
    assert [face["on"] for face in told["faces"]] == [True, False]
    one = protected(client, photo["id"])
    assert [face["unprotected"] for face in one["faces"]] == [None, "it was to be skipped"]
    assert one["unprotected"] == 1
    assert file_of(client, one["id"]) == library(pair, key, skip=[2])
    assert file_of(client, both["id"]) == library(pair, key)  # a result stays what it was
    off = protected(client, photo["id"], faces=[{"number": 1, "on": False}, {"number": 2, "on": True}])
    assert file_of(client, off["id"]) == library(pair, key, only=[2])
    all_off = client.post(f"/api/v1/photos/{photo['id']}/protect", json={"faces": [{"number": 2, "on": False}]})
    assert "none of the 2 faces" in refused(all_off, 422, "bad_photo")


def test_a_face_is_drawn(client: TestClient, key: str, astronaut: np.ndarray) -> None:
    blurred = Image.fromarray(astronaut[:256, 100:356]).resize((5, 5)).resize((256, 256))
    stream = io.BytesIO()
    blurred.save(stream, "PNG")
    photo = given(client, stream.getvalue(), "blurred.png")
    assert photo["faces"] == []
    refused(client.post(f"/api/v1/photos/{photo['id']}/protect", json={}), 422, "bad_photo")
    box = [70, 50, 110, 130]
    told = client.post(f"/api/v1/photos/{photo['id']}/faces", json={"boxes": [box]}).json()
    assert told["boxes"] == [box]
    assert len(told["faces"]) == 1
    result = protected(client, photo["id"])
    assert file_of(client, result["id"]) == library(stream.getvalue(), key, boxes=[box])
    for odd in ([box[:3]], [[900, 900, 5, 5]], [[0, 0, 0, 0]], ["box"], "box", [[0, 0, 1e308, 1e308]]):
        answer = client.post(f"/api/v1/photos/{photo['id']}/faces", json={"boxes": odd})
        refused(answer, 422, "bad_boxes")


def test_a_name_gives_all_photos_of_a_person_one_target(client: TestClient, pair: bytes) -> None:
    photo = given(client, pair)
    plain = protected(client, photo["id"])
    files = [file_of(client, plain["id"])]
    for name in ("anna", "bert", "carl", "dora", "emil", "anna"):
        result = protected(client, photo["id"], faces=[{"number": 2, "who": name}])
        files.append(file_of(client, result["id"]))
    assert files[1] == files[6]
    assert len(set(files)) > 1
    told = client.get(f"/api/v1/photos/{photo['id']}").json()
    assert [face["who"] for face in told["faces"]] == [None, "anna"]


def test_the_command_that_is_shown_does_the_same(
    client: TestClient, pair: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pair.png").write_bytes(pair)
    photo = given(client, pair, "my%20pair.png")
    asked = [
        {"strength": 0.4, "faces": [{"number": 2, "on": False}]},
        {"format": "jpg", "quality": 80, "faces": [{"number": 2, "on": True}, {"number": 1, "who": "anna"}]},
        {"method": "san", "gender": "female", "prototype": "nt"},
        {"method": "stranger", "strength": "low", "gender": None, "prototype": None},
    ]
    for options in asked:
        result = protected(client, photo["id"], **options)
        for name, text in result["files"].items():
            (tmp_path / name).write_text(text)
        words = shlex.split(result["command"])
        done = CliRunner().invoke(cli, [*words[1:], "--overwrite"], standalone_mode=False)
        assert done.exception is None, done.output
        assert (tmp_path / words[4]).read_bytes() == file_of(client, result["id"])


def test_what_our_classifiers_read_before_and_after(client: TestClient, pair: bytes, portrait: bytes) -> None:
    photo = given(client, pair)
    before = client.get(f"/api/v1/photos/{photo['id']}/reads").json()
    assert [face["after"] for face in before["faces"]] == [None, None]
    seen = halfmask.predict(pair)
    assert before["faces"][0]["before"]["gender"]["word"] == seen[0].gender
    result = protected(client, photo["id"], strength=1, faces=[{"number": 2, "on": False}])
    after = client.post(f"/api/v1/photos/{photo['id']}/reads", json={"result": result["id"]}).json()
    first, second = after["faces"]
    assert first["before"] == before["faces"][0]["before"] != first["after"]
    assert second["after"] is None is second["match"]
    whole = halfmask.protect(pair, strength=1, skip=[2])
    assert first["match"] == pytest.approx(whole.faces[0].match, abs=1e-3)
    other = given(client, portrait)
    refused(client.post(f"/api/v1/photos/{other['id']}/reads", json={"result": result["id"]}), 404, "not_found")


def test_pictures_for_the_screen(client: TestClient, portrait: bytes) -> None:
    photo = given(client, portrait)
    result = protected(client, photo["id"])
    for path in (f"photos/{photo['id']}", f"results/{result['id']}"):
        answer = client.get(f"/api/v1/{path}/picture?side=100")
        assert Image.open(io.BytesIO(answer.content)).size == (100, 100)
        refused(client.get(f"/api/v1/{path}/picture?side=99999"), 422, "bad_side")


def test_one_shot(client: TestClient, portrait: bytes, key: str, dot: bytes) -> None:
    expected = library(portrait, key, strength="high")
    raw = client.post("/api/v1/protect?strength=high", content=portrait, headers={"X-Halfmask-Name": "x.jpg"})
    form = client.post("/api/v1/protect", files={"file": ("..\\x.jpg", portrait)}, data={"strength": "high"})
    for answer in (raw, form):
        assert answer.status_code == 200, answer.text
        assert answer.content == expected
        assert answer.headers["content-disposition"].endswith("''x.jpg")
        report = json.loads(answer.headers["x-halfmask-report"])
        assert (report["faces"], report["changed"], report["unprotected"]) == (1, 1, 0)
        assert 0.5 < report["first"][0]["match"] < 1
    refused(client.post("/api/v1/protect", content=dot), 422, "bad_photo")
    copied = client.post("/api/v1/protect?if_no_face=copy&format=jpg", content=dot)
    assert Image.open(io.BytesIO(copied.content)).format == "JPEG"
    refused(client.post("/api/v1/protect", files={"photo": ("x", portrait)}), 400, "bad_form")
    assert client.app.state.house.shelf.bytes == 0


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "BMP", "GIF"])
def test_the_same_format_size_and_mode(client: TestClient, astronaut: np.ndarray, format: str) -> None:
    image = Image.fromarray(astronaut[:250, 100:350])
    image = image.quantize(64) if format == "GIF" else image.convert("L") if format == "TIFF" else image
    stream = io.BytesIO()
    image.save(stream, format)
    answer = client.post("/api/v1/protect", content=stream.getvalue())
    assert answer.status_code == 200, answer.text
    before, after = Image.open(stream), Image.open(io.BytesIO(answer.content))
    assert (before.format, before.size, before.mode) == (after.format, after.size, after.mode)


def test_predict(client: TestClient, portrait: bytes) -> None:
    answer = client.post("/api/v1/predict", content=portrait).json()
    (seen,) = halfmask.predict(portrait)
    assert answer["faces"][0]["race"]["word"] == seen.race
    assert answer["width"] == 256


def test_deidentify_without_torch_says_so(client: TestClient, portrait: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else real(name, *a))
    message = refused(client.post("/api/v1/deidentify", content=portrait), 501, "not_installed")
    assert "halfmask[train]" in message
    methods = client.get("/api/v1/methods").json()["methods"]
    assert {m["name"] for m in methods if m["lacks"]} == {"deidentify"}
    refused(client.post("/api/v1/deidentify?method=san", content=portrait), 422, "unknown_option")


@pytest.mark.slow
def test_deidentify(client: TestClient, portrait: bytes) -> None:
    pytest.importorskip("torch", reason="deidentify needs halfmask[train]")
    if absent := [m for m in METHODS["deidentify"].cls.models if not store.present(m)]:
        pytest.skip(f"needs the models {absent}, which are not fetched")
    answer = client.post("/api/v1/deidentify?strength=low", content=portrait)
    assert answer.status_code == 200, answer.text
    assert answer.content == halfmask.deidentify(portrait, strength="low", score=False).photo.encode()


def test_a_batch(client: TestClient, portrait: bytes, pair: bytes, dot: bytes, key: str) -> None:
    photos = [given(client, portrait, "a/x.jpg"), given(client, dot, "dot.png"), given(client, portrait, "a/x.jpg")]
    photos.append(given(client, pair, "pair.png"))
    client.post(f"/api/v1/photos/{photos[3]['id']}/faces", json={"faces": [{"number": 1, "on": False}]})
    begun = client.post("/api/v1/batches", json={"photos": [p["id"] for p in photos], "options": {"strength": "low"}})
    assert begun.status_code == 202, begun.text
    path = f"/api/v1/batches/{begun.json()['id']}"
    events = client.get(f"{path}/events").text.strip().split("\n\n")
    told = [json.loads(e.partition("data: ")[2]) for e in events if not e.startswith(":")]
    assert [t.get("index") for t in told] == [0, 1, 2, 3, None]
    assert "no face" in told[1]["error"]["message"]
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"{path}/zip").content))
    assert archive.testzip() is None
    assert archive.namelist() == ["a/x.jpg", "a/x (2).jpg", "pair.png", "NOT PROTECTED.txt"]
    assert archive.read("a/x (2).jpg") == library(portrait, key, strength="low")
    left = archive.read("NOT PROTECTED.txt").decode().splitlines()
    assert left[0].startswith("dot.png: not in this zip: no face was found")
    assert left[1:] == ["pair.png: UNPROTECTED faces: 1"]
    assert client.delete(path).status_code == 204
    refused(client.get(f"{path}/zip"), 404, "not_found")
    refused(client.get(f"/api/v1/results/{told[0]['result']}"), 404, "not_found")


def test_a_batch_is_stopped(client: TestClient, portrait: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    going, studio, done = threading.Event(), client.app.state.house.studio, []
    real = studio.protect

    def slow(held: object, ask: object) -> object:
        going.wait(20)
        done.append(held)
        return real(held, ask)

    monkeypatch.setattr(studio, "protect", slow)
    id = given(client, portrait)["id"]
    path = f"/api/v1/batches/{client.post('/api/v1/batches', json={'photos': [id] * 9}).json()['id']}"
    assert client.delete(path).status_code == 204
    going.set()
    client.get("/api/v1/methods")
    assert len(done) <= 1


def test_options_are_those_of_the_list_and_no_others(client: TestClient, portrait: bytes) -> None:
    id = given(client, portrait)["id"]
    for name in ("weights", "key", "person", "settings", "max_pixels", "labels", "crop", "matchers"):
        answer = client.post(f"/api/v1/photos/{id}/protect", json={name: "mine"})
        assert name in refused(answer, 422, "unknown_field")
        refused(client.post(f"/api/v1/protect?{name}=mine", content=portrait), 422, "unknown_option")
        answer = client.post("/api/v1/batches", json={"photos": [id], "options": {name: "mine"}})
        refused(answer, 422, "unknown_option")
    refused(client.post("/api/v1/protect?method=i-fgsm", content=portrait), 422, "bad_option")  # it needs a file
    odd = {"method": "halfmask2", "strength": 0, "hide": "hair", "quality": 101, "gender": "x", "format": "exe",
           "prototype": "sm", "if_no_face": "skip", "keep_metadata": "yes"}  # fmt: skip
    for name, value in odd.items():
        refused(client.post(f"/api/v1/photos/{id}/protect", json={name: value}), 422, "bad_option")


def test_no_address_or_path_is_ever_taken_for_a_photo(client: TestClient, tmp_path: Path, portrait: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(portrait)
    for text in (str(tmp_path / "a.jpg"), f"file://{tmp_path}/a.jpg", "http://127.0.0.1:8300/a.jpg"):
        message = refused(client.post("/api/v1/photos", content=text.encode()), 422, "bad_photo")
        assert "not a picture" in message


def test_models_are_fetched_only_when_asked(
    client: TestClient, dot: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get(name: str, **_: object) -> Path:
        asked.append(name)
        raise WeightsError(f"no network at {tmp_path}")

    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "get", get)
    told = {m["name"]: m for m in client.get("/api/v1/models").json()["models"]}
    assert (told["yunet"]["here"], told["yunet"]["needed"], told["sface"]["needed"]) == (False, True, False)
    answer = client.post("/api/v1/photos", content=dot)
    assert "halfmask models get yunet" in refused(answer, 409, "model_missing")
    assert answer.json()["error"]["models"] == ["yunet"]
    assert not asked
    message = refused(client.post("/api/v1/models", json={"names": ["yunet"]}), 502, "not_fetched")
    assert asked == ["yunet"]
    assert str(tmp_path) not in message
    for names in (["w600k_mbf"], ["/etc/passwd"], [], "yunet", None):
        refused(client.post("/api/v1/models", json={"names": names}), 422, "bad_models")
    monkeypatch.setattr(store, "get", lambda name, **_: asked.append(name))
    assert client.post("/api/v1/models", json={"names": ["yunet", "sface"]}).status_code == 200
    assert asked == ["yunet", "yunet", "sface"]


def test_no_room_in_the_queue_is_told_and_nothing_is_lost(
    key: str, needs_models: None, dot: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(Limits(workers=1, queue=1)) as client:
        going, answers, begun = threading.Event(), [], threading.Semaphore(0)
        studio = client.app.state.house.studio
        real = studio.take

        def slow(data: bytes, name: str) -> object:
            begun.release()
            going.wait(20)
            return real(data, name)

        monkeypatch.setattr(studio, "take", slow)

        def post() -> None:
            answers.append(client.post("/api/v1/photos", content=dot))

        threads = [threading.Thread(target=post) for _ in range(2)]
        threads[0].start()
        assert begun.acquire(timeout=20)
        threads[1].start()
        while client.app.state.house.desk._taken < 2:
            pass
        busy = client.post("/api/v1/photos", content=dot)
        refused(busy, 429, "busy")
        assert int(busy.headers["retry-after"]) >= 1
        going.set()
        for thread in threads:
            thread.join(30)
        assert [a.status_code for a in answers] == [201, 201]


def test_the_document_is_of_the_routes(client: TestClient) -> None:
    document = client.get("/api/v1/openapi.json").json()
    told = {(path, verb.upper()) for path, verbs in document["paths"].items() for verb in verbs}
    routes = [route for route in client.app.routes if isinstance(route, Route) and route.path.startswith("/api/")]
    served = {(route.path, verb) for route in routes for verb in route.methods - {"HEAD"}}
    assert told == served == {(e.path, e.verb) for e in ENDPOINTS}
    operations = [one for verbs in document["paths"].values() for one in verbs.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    from halfmask.serving.asking import OPTIONS

    assert set(document["components"]["schemas"]["Options"]["properties"]) == set(OPTIONS)


def test_what_is_not_there_is_told_in_the_same_way(client: TestClient) -> None:
    refused(client.get("/api/v1/nothing"), 404, "not_found")
    refused(client.put("/api/v1/photos"), 405, "not_allowed")
    refused(client.get("/../../etc/passwd"), 404, "not_found")
    assert client.get("/").headers["content-type"].startswith("text/html")
