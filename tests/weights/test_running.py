"""Networks run on the device that was asked for, or say why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image

import halfmask
from halfmask.cli import main
from halfmask.errors import UsageError
from halfmask.methods.runtime import Network
from halfmask.photos.yunet import YuNet
from halfmask.protecting.options import Options
from halfmask.weights import running, shipped, store

OTHERS = [device for device in running.DEVICES if device != running.CPU]
ABSENT = [d for d in OTHERS if running.DEVICES[d][0] not in onnxruntime.get_available_providers()]


def test_there_is_something_to_test() -> None:
    assert ABSENT  # no machine has all three


@pytest.mark.parametrize("device", ABSENT)
def test_a_device_that_is_absent_says_what_it_needs(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = rf"the device {device} is not there.*{running.DEVICES[device][0]}. It needs .*pip install"
    with pytest.raises(UsageError, match=wanted):
        Options(device=device)
    wall = np.full((64, 64, 3), 200, np.uint8)
    with pytest.raises(UsageError, match=wanted):
        halfmask.protect(wall, device=device, if_no_face="copy")
    with pytest.raises(UsageError, match=wanted):
        halfmask.predict(wall, device=device)
    photo, out = tmp_path / "photo.png", tmp_path / "out.png"
    Image.fromarray(wall).save(photo)
    for command in (["protect", str(photo), "-o", str(out)], ["predict", str(photo)]):
        with pytest.raises(SystemExit) as left:
            main([*command, "--device", device])
        assert left.value.code == 2
        assert f"the device {device} is not there" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("device", OTHERS)
def test_a_device_that_does_not_start_is_no_quiet_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime names a provider that was built in, and takes the CPU when its driver is not there."""
    provider = running.DEVICES[device][0]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [provider, "CPUExecutionProvider"])
    real = onnxruntime.InferenceSession

    def quietly_on_the_cpu(model: object, options: object, providers: list[str]) -> object:
        assert providers == [provider, "CPUExecutionProvider"]
        return real(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", quietly_on_the_cpu)
    with running.on(device):
        for load in (lambda: Network(shipped.path("gender.onnx")), lambda: YuNet(store.get("yunet"))):
            with pytest.raises(UsageError, match=f"{device} did not start: onnxruntime would run on CPU.*It needs"):
                load()
    monkeypatch.undo()
    assert Network(shipped.path("gender.onnx"))  # the device is asked for no longer


def test_a_method_in_torch_has_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(UsageError, match="deidentify computes with torch on the CPU; leave device cuda out"):
        Options(method="deidentify", device="cuda")


def test_the_device_changes_no_name_of_an_output() -> None:
    assert "device" not in Options().how("weights")


def test_help_names_the_devices() -> None:
    from halfmask.cli.protect import protect

    text = CliRunner().invoke(protect, ["--help"]).output
    assert all(device in text for device in running.DEVICES)
