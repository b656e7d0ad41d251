"""Ray on this machine: two workers, a worker that is killed, a machine that is killed, a photo that kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ray = pytest.importorskip("ray", reason="needs halfmask[ray]")
from halfmask.cluster import look, work  # noqa: E402
from halfmask.cluster import run as cluster  # noqa: E402
from halfmask.cluster.hands import TRIES  # noqa: E402
from halfmask.cluster.places import Place  # noqa: E402
from halfmask.predicting.report import as_dict  # noqa: E402
from halfmask.protecting import pipeline, plan  # noqa: E402
from halfmask.protecting.options import Options  # noqa: E402
from halfmask.protecting.records import Records  # noqa: E402
from halfmask.storage import RECORD  # noqa: E402

pytestmark = pytest.mark.slow  # Ray alone takes ten seconds to start

PHOTOS = 9


@pytest.fixture
def as_important_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's workers give way to every other process, on a busy machine for ever."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("album")
    rng = np.random.default_rng(5)
    for i in range(PHOTOS):
        noise = rng.normal(0, 4, (250, 250, 3))
        pixels = np.clip(astronaut[:250, 100:350] + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def options() -> Options:
    return Options(settings={"key": "tests"})


@pytest.fixture(scope="module")
def local(album: Path, options: Options, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the threads of one process write."""
    out = str(tmp_path_factory.mktemp("local"))
    outcomes = list(cluster.run(cluster.plan([str(album)], out, options), options, out))
    assert {o.status for o in outcomes} == {pipeline.PROTECTED}
    return stored(out)


def stored(out: str) -> dict[str, bytes]:
    place = Place(out)
    return {name: place.read(entry.path) for name, entry in place.files().items()}


def by_ray(album: Path, out: Path, options: Options, **how: Any) -> list[pipeline.Outcome]:
    todo = cluster.plan([str(album)], str(out), options)
    return list(cluster.run(todo, options, str(out), on="ray", **how))


class Deadly(work.Worker):
    """Dies at the photo ``at``: each time, or once when ``once`` is a file that is not there yet."""

    def __init__(self, options: Options, output: str, *, at: str, once: Path | None = None) -> None:
        super().__init__(options, output)
        self.at, self.once = at, once

    def __call__(self, task: work.Task) -> work.Done[pipeline.Outcome]:
        if task.name == self.at and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task)


@pytest.fixture(scope="module")
def two_cores() -> Iterator[None]:
    """One Ray for several tests, since it takes long to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        ray.shutdown()


@pytest.mark.usefixtures("two_cores")
def test_two_workers_write_the_bytes_of_one(
    album: Path, tmp_path: Path, options: Options, local: dict[str, bytes]
) -> None:
    outcomes = by_ray(album, tmp_path / "out", options, workers=2)
    assert [o.status for o in outcomes] == [pipeline.PROTECTED] * PHOTOS
    assert len({o.job.name for o in outcomes}) == PHOTOS
    assert stored(str(tmp_path / "out")) == local
    again = cluster.plan([str(album)], str(tmp_path / "out"), options)
    assert [o.status for o in again.settled] == [pipeline.THERE] * PHOTOS
    assert not again.tasks


@pytest.mark.usefixtures("two_cores")
def test_ray_and_no_ray_go_on_where_the_other_was(
    album: Path, tmp_path: Path, options: Options, local: dict[str, bytes]
) -> None:
    out = tmp_path / "out"

    def without_ray() -> list[str]:
        engine = pipeline.load(options, workers=1, photos=PHOTOS)
        todo = plan.plan([album], out)
        with Records(options.how(engine.networks.method.fingerprint)) as records:
            return [outcome.status for outcome in pipeline.run(todo.jobs, engine, workers=1, records=records)]

    assert without_ray() == [pipeline.PROTECTED] * PHOTOS
    record = (out / RECORD).read_bytes()
    for name in ("02.jpg", "07.jpg"):
        (out / name).unlink()
    statuses = [outcome.status for outcome in by_ray(album, out, options, workers=2)]
    assert sorted(statuses) == [pipeline.THERE] * (PHOTOS - 2) + [pipeline.PROTECTED] * 2
    assert without_ray() == [pipeline.THERE] * PHOTOS
    assert stored(str(out)) == local
    assert (out / RECORD).read_bytes() == record


@pytest.mark.usefixtures("two_cores")
def test_a_killed_worker_loses_and_doubles_nothing(
    album: Path, tmp_path: Path, options: Options, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "Worker", partial(Deadly, at="05.jpg", once=tmp_path / "died"))
    outcomes = by_ray(album, tmp_path / "out", options, workers=2)
    assert (tmp_path / "died").exists()
    assert sorted(o.job.name for o in outcomes) == sorted(local)
    assert {o.status for o in outcomes} == {pipeline.PROTECTED}
    assert stored(str(tmp_path / "out")) == local


@pytest.mark.usefixtures("two_cores")
def test_a_photo_that_kills_is_quarantined(
    album: Path, tmp_path: Path, options: Options, local: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "Worker", partial(Deadly, at="05.jpg"))
    outcomes = {o.job.name: o for o in by_ray(album, tmp_path / "out", options, workers=2)}
    assert len(outcomes) == PHOTOS
    assert outcomes["05.jpg"].status == pipeline.FAILED
    assert f"{TRIES} workers died, the last of them at it" in str(outcomes["05.jpg"].reason)
    assert stored(str(tmp_path / "out")) == {n: data for n, data in local.items() if n != "05.jpg"}


class DeadlyLooker(look.Looker):
    """Dies at every photo of the name ``at``."""

    at = ""

    def __call__(self, task: work.Task) -> work.Done[look.Seen]:
        if self.at and task.name.endswith(self.at):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task)


@pytest.mark.usefixtures("two_cores")
def test_predictions_come_in_order_and_a_photo_that_kills_is_left(album: Path, tmp_path: Path) -> None:
    tasks, _ = look.find([str(album)])
    locally = list(look.run(tasks, look.Looker("all", None, "cpu", 10**8)))
    assert [Path(str(seen.source)).name for seen in locally] == sorted(p.name for p in album.iterdir())
    deadly = DeadlyLooker("all", None, "cpu", 10**8)
    deadly.at = "05.jpg"
    by_two = list(look.run(tasks, deadly, on="ray", workers=2))
    assert len(by_two) == PHOTOS
    for here, there in zip(locally, by_two, strict=True):
        assert there.source == here.source
        if str(there.source).endswith("05.jpg"):
            assert f"{TRIES} workers died" in str(there.error)
        else:
            assert [as_dict(face) for face in there.faces] == [as_dict(face) for face in here.faces]
            assert len(there.faces) == 1


@pytest.mark.usefixtures("as_important_as_others")
def test_a_killed_machine_loses_and_doubles_nothing(
    album: Path, tmp_path: Path, options: Options, local: dict[str, bytes]
) -> None:
    from ray.cluster_utils import Cluster

    ray.shutdown()  # the one of the tests above
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = machines.add_node(num_cpus=1)
        ray.init(address=machines.address, log_to_driver=False, logging_level="ERROR")
        todo = cluster.plan([str(album)], str(tmp_path / "out"), options)
        outcomes = []
        for outcome in cluster.run(todo, options, str(tmp_path / "out"), on="ray", address=machines.address, workers=2):
            outcomes.append(outcome)
            if other is not None and len(outcomes) == 2:
                machines.remove_node(other, allow_graceful=False)
                other = None
        assert sorted(o.job.name for o in outcomes) == sorted(local)
        assert {o.status for o in outcomes} == {pipeline.PROTECTED}
        assert stored(str(tmp_path / "out")) == local
    finally:
        ray.shutdown()
        machines.shutdown()


@pytest.mark.usefixtures("as_important_as_others")
def test_an_interrupt_exits_130_and_the_same_line_does_the_rest(album: Path, tmp_path: Path) -> None:
    out, many = tmp_path / "out", tmp_path / "many"
    many.mkdir()
    for i in range(12):  # enough that some are left when the interrupt comes
        for photo in album.iterdir():
            shutil.copy(photo, many / f"{i:02}-{photo.name}")
    line = [sys.executable, "-m", "halfmask", "protect", str(many), "-o", str(out), "--on", "ray", "--workers", "1"]
    environment = os.environ | {"HALFMASK_KEY": "tests"}
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("*.jpg")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("it was done before the interrupt came")
    assert process.returncode == 130, said
    assert "stopped early: interrupted" in said
    rest = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert rest.returncode == 0, rest.stderr
    assert "tests" not in said + rest.stderr
    assert sorted(stored(str(out))) == sorted(p.name for p in many.iterdir())
    assert {len(data) > 1000 for data in stored(str(out)).values()} == {True}
