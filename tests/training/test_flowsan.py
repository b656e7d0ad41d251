"""SANs in sequence: each is shown what the one before made, that one stays as it is, and the run resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sans import made_up, tiny

from halfmask.networks.san import SAN, load_san
from halfmask.training import flowsan as recipe
from halfmask.training import loop, sans
from halfmask.training.prototypes import mean_faces


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return tiny(monkeypatch)


def test_earlier_stages_are_their_op_outputs_in_turn() -> None:
    torch.manual_seed(0)
    first, second = SAN(), SAN()
    faces = made_up()
    prototypes = mean_faces(faces, groups=False)
    face, gender = faces.take(np.arange(3), gray=True), torch.tensor([0, 1, 0])
    earlier = recipe.Earlier([first, second], [False, False, True], prototypes, reach=1.5)
    got = earlier(face, gender, torch.tensor([4, 3, 2]))  # groups that no network here takes
    means = prototypes.means()
    same, other = means[gender], means[1 - gender]
    with torch.no_grad():
        for net in (first, second):
            (face,) = net.layer_by_layer(face, same, [same + 1.5 * (other - same)])
    assert torch.allclose(got, face, atol=1e-5)


def test_a_stage_starts_from_the_one_before(
    shared: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[np.ndarray] = []
    real = sans.j_d

    def looks(output: torch.Tensor, face: torch.Tensor, kind: str) -> torch.Tensor:
        shown.append(face[:, 0, 0, 0].detach().numpy().copy())
        return real(output, face, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(sans, "j_d", looks)
    config = recipe.FlowSanConfig(
        san=shared | {"lambda_d": 1.0, "stage2_reconstruction": "mse", "flip": False, "seed": 3},
        stages=[{"gender_classifier": "a"}, {"gender_classifier": "b", "gender_on": "op"}],
    )
    folder = tmp_path / "run"
    path = recipe.train_flowsan(config, folder)
    assert path == folder / "flowsan.npz"
    assert {f.name for f in folder.glob("*.onnx")} == {"1.onnx", "2.onnx"}
    assert {"J_G", "J_M", "cosine_op"} <= set(loop.read_log(folder / "stage-2")[-1])
    # the second stage saw, in the same order, the first's outputs of the faces that the first saw
    faces, first = made_up(), load_san(folder / "stage-1" / "san.safetensors")
    earlier = recipe.Earlier([first], [False], mean_faces(faces), 1.0)
    batches = [loop.batch_indices(3 + 2, i, 16, 4) for i in range(2)]
    for i, chosen in enumerate(batches):
        face = faces.take(chosen, gray=True)
        made = earlier(face, torch.from_numpy(faces.labels("gender")[chosen]), torch.zeros(4, dtype=torch.int64))
        assert np.allclose(shown[i], face[:, 0, 0, 0])
        assert np.allclose(shown[2 + i], made[:, 0, 0, 0], atol=1e-5)
    # killed after the first stage: the second is trained again, to the same, and the first is left
    second = (folder / "stage-2" / "san.safetensors").read_bytes()
    shutil.rmtree(folder / "stage-2")
    shown.clear()
    recipe.train_flowsan(config, folder)
    assert len(shown) == 2
    assert (folder / "stage-2" / "san.safetensors").read_bytes() == second
