"""A key and a person's name go to the method, and stand in nothing that halfmask says or writes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from halfmask.cli.audit import _command, _settled, audit
from halfmask.cli.photos import named
from halfmask.errors import UsageError
from halfmask.evaluation.benchmark import run as benchmark
from halfmask.evaluation.benchmark.config import MethodConfig
from halfmask.methods import METHODS
from halfmask.methods.choice import SECRET
from halfmask.protecting.options import Options

Run = Callable[..., tuple[int, str, str]]
GIVEN = {"key": "sesame", "person": "anna-lena"}
WORDS = re.compile("sesame|anna-lena")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_secret_setting_is_declared(name: str) -> None:
    method = METHODS[name].cls
    assert method.secrets == method.settings.keys() & {"key", "person"}
    assert all(setting in method.secrets for setting, text in method.settings.items() if "secret" in text)


def test_summary_and_report(run: Run, album: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    options = [word for name, value in GIVEN.items() for word in ("--set", f"{name}={value}")]
    code, said, error = run("protect", album, "-o", tmp_path / "out", "--json", report, *options)
    assert code == 0
    assert f"key {SECRET}, person {SECRET}" in said
    told = json.loads(report.read_text())
    assert told["options"]["settings"] == dict.fromkeys(GIVEN, SECRET)
    everything = [said, error, *(p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file())]
    assert not any(map(WORDS.search, everything))


def test_messages_and_texts_of_objects(run: Run, album: Path, tmp_path: Path) -> None:
    for given in (("person=anna-lena", "person=sesame"), ("sesame",), ("=sesame",), ("member=3", "key=sesame")):
        options = [word for text in given for word in ("--set", text)]
        code, said, error = run("protect", album, "-o", tmp_path / "out", *options)
        assert code == 2
        assert not WORDS.search(said + error)
    assert not WORDS.search(repr(Options(settings=GIVEN)))
    with pytest.raises(UsageError, match=r"setting key is '\(secret\)'; expected text") as caught:
        Options(settings={"key": ["sesame"]})
    assert not WORDS.search(str(caught.value))
    with pytest.raises(UsageError, match="are a str; expected names and values"):
        MethodConfig("mine", "halfmask", settings="key=sesame")


def test_an_audit(tmp_path: Path, standin: Path) -> None:
    words = ["--method", "halfmask", "--dataset", "x", "-o", str(tmp_path / "r")]
    words += [word for name, value in GIVEN.items() for word in ("--set", f"{name}={value}")]
    line = _command(audit.make_context("audit", words))
    assert line.count(SECRET) == 2
    assert not WORDS.search(line)
    method = _settled(tmp_path / "r", Options(settings=GIVEN))
    assert method["settings"] == dict.fromkeys(GIVEN, SECRET)
    written = (tmp_path / "r" / "work" / "method.json").read_text()
    assert not WORDS.search(written)
    assert _settled(tmp_path / "r", Options(settings=GIVEN)) == method
    with pytest.raises(UsageError, match="protected in another way"):
        _settled(tmp_path / "r", Options(settings=GIVEN | {"person": "ben"}))


def test_a_benchmark(standin: Path) -> None:
    config = MethodConfig("mine", "halfmask", settings=GIVEN)
    how = benchmark._how(config, config.options(GIVEN), GIVEN, "f")
    assert how["settings"] == dict.fromkeys(GIVEN, SECRET)
    assert not WORDS.search(json.dumps(how))
    other = benchmark._how(config, config.options(GIVEN), GIVEN | {"person": "ben"}, "f")
    assert how["secrets"] != other["secrets"]
    assert "secrets" not in benchmark._how(config, config.options({}), {}, "f")
    entry = benchmark.Protected(config, "place", "f", GIVEN, frozenset({"gender"}))
    assert benchmark._about_method(entry)["settings"] == dict.fromkeys(GIVEN, SECRET)


def test_settings_are_named() -> None:
    assert named(["person=a=b"]) == {"person": "a=b"}
