"""Importing halfmask costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnxruntime", "cv2", "numpy", "PIL")


@pytest.mark.parametrize("module", ["halfmask", "halfmask.cli"])
def test_nothing_heavy_is_imported(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_running_imports_no_torch() -> None:
    code = "import sys, halfmask; halfmask.protect; halfmask.methods.load; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_public_names() -> None:
    import halfmask.protecting.pipeline

    assert set(dir(halfmask)) == set(halfmask.__all__)
    assert all(getattr(halfmask, name) is not None for name in halfmask.__all__)
    assert callable(halfmask.protect)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        halfmask.nonsense  # noqa: B018
