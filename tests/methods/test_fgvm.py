"""P-FGVM, I-FGVM, I-FGSM: against the equations written out in numpy for a linear softmax model."""

from __future__ import annotations

import numpy as np
import pytest

from halfmask.errors import UsageError
from halfmask.methods.fgvm import Rule, gaussian_start, perturb

torch = pytest.importorskip("torch", reason="P-FGVM needs gradients")
N, SHAPE, K = 4, (3, 5, 5), 3


class Linear:
    """A softmax of W x: its cross-entropy's gradient towards a target is Wᵀ (p − e_target)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.w = rng.normal(size=(K, int(np.prod(SHAPE))))
        self.images = rng.uniform(0.0, 1.0, (N, *SHAPE))
        self.images[0, 0] = 0.999  # some pixels meet the ends of the range
        self.images[1, 0] = 0.001
        self.target = self.logits(self.images).argsort(1)[:, -2]
        self._w = torch.from_numpy(self.w)

    def logits(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1) @ self.w.T

    def says(self, x: np.ndarray) -> np.ndarray:
        return self.logits(x).argmax(1)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        z = self.logits(x)
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return ((p - np.eye(K)[self.target]) @ self.w).reshape(x.shape)

    def loss(self, x, rows):
        assert len(x) == len(rows)
        return torch.nn.functional.cross_entropy(
            x.flatten(1) @ self._w.T, torch.from_numpy(self.target)[rows], reduction="none"
        )

    def success(self, x, rows):
        return (x.flatten(1) @ self._w.T).argmax(1) == torch.from_numpy(self.target)[rows]

    def by_hand(
        self, rule: Rule, step: float, steps: int, weight: float = 0.0, epsilon: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The slides' equations, image by image, each stopped by itself."""
        out, taken = self.images.copy(), np.full(N, steps)
        for n in range(N):
            x0 = self.images[n]
            for i in range(steps + 1):
                if self.says(out)[n] == self.target[n]:
                    taken[n] = i
                    break
                if i == steps:
                    break
                g = self.gradient(out)[n]
                if rule == "p-fgvm":
                    x = out[n] - step * (g + weight * (out[n] - x0))
                else:
                    x = out[n] - step * (np.sign(g) if rule == "i-fgsm" else g)
                    x = np.minimum(np.maximum(x, x0 - epsilon), x0 + epsilon)
                out[n] = np.clip(x, 0, 1)
        return out, taken


@pytest.fixture
def model(rng: np.random.Generator) -> Linear:
    return Linear(rng)


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("p-fgvm", {"step": 0.01, "weight": 3.0}),
        ("p-fgvm", {"step": 0.01, "weight": 0.0}),
        ("i-fgvm", {"step": 0.01, "epsilon": 0.05}),
        ("i-fgsm", {"step": 0.007, "epsilon": 0.05}),
    ],
)
@pytest.mark.parametrize("steps", [3, 60])
def test_equations_by_hand(model: Linear, rule: Rule, settings: dict[str, float], steps: int):
    wanted, taken = model.by_hand(rule, steps=steps, **settings)
    made = perturb(torch.from_numpy(model.images), model.loss, model.success, rule=rule, steps=steps, **settings)
    assert np.allclose(made.images.numpy(), wanted, atol=1e-12)
    assert made.steps.tolist() == taken.tolist()
    assert made.succeeded.tolist() == (model.says(wanted) == model.target).tolist()
    assert not np.allclose(wanted, model.images)
    if "epsilon" in settings:
        assert np.abs(made.images.numpy() - model.images).max() <= settings["epsilon"] + 1e-12
    assert made.images.min() >= 0
    assert made.images.max() <= 1


def test_each_image_stops_by_itself(model: Linear):
    asked: list[int] = []

    def success(x, rows):
        asked.append(len(rows))
        return model.success(x, rows)

    images = torch.from_numpy(model.images)
    made = perturb(images, model.loss, success, step=0.01, steps=200)
    assert made.succeeded.all()
    assert len(set(made.steps.tolist())) > 1
    assert asked == sorted(asked, reverse=True)
    assert len(asked) == int(made.steps.max()) + 1  # it ends with the last success
    # alone, an image goes the same way
    alone = perturb(
        images[2:3], lambda x, rows: model.loss(x, rows + 2), lambda x, rows: model.success(x, rows + 2),
        step=0.01, steps=200,
    )  # fmt: skip
    assert torch.allclose(alone.images[0], made.images[2], atol=1e-12)
    # one that succeeds already is left as it is
    model.target = model.says(model.images)
    kept = perturb(images, model.loss, model.success, step=0.01, steps=5)
    assert torch.equal(kept.images, images)
    assert kept.steps.tolist() == [0] * N


def test_without_success_all_steps_are_made_and_watched(model: Linear):
    seen = []
    images = torch.from_numpy(model.images)
    made = perturb(images, model.loss, None, step=0.01, steps=4, watch=lambda i, x: seen.append((i, x.clone())))
    assert [i for i, _ in seen] == [0, 1, 2, 3, 4]
    assert torch.equal(seen[0][1], images)
    assert torch.equal(seen[-1][1], made.images)
    assert not made.succeeded.any()


def test_noise_comes_home_and_the_nearest_success_is_kept(model: Linear):
    images = torch.from_numpy(model.images)
    noise = gaussian_start(images, seed=3)
    assert noise.dtype == images.dtype
    assert 0.4 < float(noise.mean()) < 0.6
    states = []
    made = perturb(
        images, model.loss, model.success, step=0.02, weight=1.0, steps=120, start=noise, stop=False,
        watch=lambda i, x: states.append(x.clone()),
    )  # fmt: skip
    assert torch.equal(states[0], noise)
    distances = torch.stack([(x - images).flatten(1).norm(dim=1) for x in states]).numpy()
    right = np.stack([model.says(x.numpy()) == model.target for x in states])
    assert right.any(0).all()
    wanted = np.where(right, distances, np.inf)
    assert made.steps.tolist() == wanted.argmin(0).tolist()
    assert np.allclose((made.images - images).flatten(1).norm(dim=1), wanted.min(0))
    assert (wanted.min(0) < 0.4 * distances[0]).all()
    # with a stop the first success would have been kept, which is noise still
    first = perturb(images, model.loss, model.success, step=0.02, weight=1.0, steps=120, start=noise)
    assert (first.images - images).norm() > (made.images - images).norm()


def test_what_fails_keeps_its_last_state(model: Linear):
    images = torch.from_numpy(model.images)
    never = perturb(images, model.loss, lambda x, rows: rows < 0, step=0.01, steps=3, stop=False)
    last = perturb(images, model.loss, None, step=0.01, steps=3)
    assert torch.equal(never.images, last.images)
    assert not never.succeeded.any()


def test_momentum_and_transform(model: Linear):
    images = torch.from_numpy(model.images)
    made = perturb(
        images, model.loss, None, step=0.01, steps=3, weight=1.0, momentum=0.5, transform=lambda g: 2 * g
    ).images.numpy()
    x, v = model.images.copy(), 0.0
    for _ in range(3):
        v = 0.5 * v + 2 * model.gradient(x)
        x = np.clip(x - 0.01 * (v + (x - model.images)), 0, 1)
    assert np.allclose(made, x, atol=1e-12)


def test_noise_of_an_image_does_not_depend_on_the_batch():
    many, one = gaussian_start(torch.zeros(3, 3, 8, 8), seed=1), gaussian_start(torch.zeros(1, 3, 8, 8), seed=1)
    assert torch.equal(many[:1], one)
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(one, gaussian_start(torch.zeros(1, 3, 8, 8), seed=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "fgsm"}, "expected one of p-fgvm"),
        ({"rule": "p-fgvm", "epsilon": 0.1}, "P-FGVM has no box"),
        ({"rule": "i-fgvm"}, "epsilon above 0"),
        ({"rule": "i-fgsm", "epsilon": 0.1, "weight": 1.0}, "no λ"),
        ({"step": 0.0}, "step above 0"),
        ({"momentum": 1.0}, "below 1"),
        ({"images": torch.full((1, 3, 4, 4), 2.0)}, r"lie in \[2, 2\]"),
        ({"images": torch.full((1, 3, 4, 4), torch.nan)}, "expected"),
        ({"images": torch.zeros(1, 3, 4, 4, dtype=torch.uint8)}, "expected floats"),
        ({"start": torch.zeros(1, 3, 4, 5)}, "start has shape"),
    ],
)
def test_settings_that_make_no_sense_are_named(change: dict[str, object], message: str):
    settings: dict[str, object] = {"images": torch.zeros(1, 3, 4, 4), "step": 0.1, "steps": 1}
    settings |= change
    images = settings.pop("images")
    with pytest.raises(UsageError, match=message):
        perturb(images, lambda x, rows: x.sum((1, 2, 3)), None, **settings)  # type: ignore[arg-type]


def test_a_gradient_that_is_not_finite_is_named():
    with pytest.raises(FloatingPointError, match="step 1"):
        perturb(torch.zeros(1, 3, 4, 4), lambda x, rows: x.sum((1, 2, 3)).sqrt(), None, step=0.1, steps=2)
