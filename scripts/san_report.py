"""The evaluation of the report by Marino and Pepe (2019) on SAN, in its folders and by its figures.

    python scripts/san_report.py --data DIR --weights runs/san-report --out runs/report

``--weights`` is a run of ``halfmask train san``; without it SAN+, which ships, is run. Of CelebA's test people, of
whom ``--pictures`` are drawn by seed 1 where there are more, all outputs are written to
``OUT/celeba/generated/{female,male}/{SM,NT,OP}``, and of LFW the first two photos of everybody who has two to
``OUT/lfw/{female,male}/{OR_1,OR_2}``, the outputs for OR_1 beside them. All are aligned gray crops of 224 x 224 pixels.
Files that are there are not made again.

Printed are the AUC of gender before and after by the auxiliary classifier and the referees, and the AUC of matching
OR_2 with OR_1 and its outputs by equation 6, P = 1 / (1 + ||r(X) - r(X')||^2), on descriptors whose length is left as
it is. The matchers are the report's: the one that training used, for which SFace stands in unless ``--vggface`` gives
its weights, and FaceNet. ``--pairs`` of each gender are drawn by seed 1, the report's 200; everybody else of the sample
is an impostor. Needs halfmask[train].
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from halfmask.datasets import Row, Table, one_pair_each, read
from halfmask.datasets.cache import Crops, open_crops
from halfmask.errors import DataError
from halfmask.evaluation.measuring import protocol, summary
from halfmask.evaluation.measuring.metrics import auc, match_probability
from halfmask.evaluation.referees import GENDER, load
from halfmask.methods.san import San
from halfmask.networks.classifiers import load_classifier
from halfmask.networks.matchers import load_matcher
from halfmask.storage import ensure_folder, whole
from halfmask.tabular import markdown

GENDERS = ("female", "male")
OUTPUTS = ("SM", "NT", "OP")
#: What the report has on CelebA and LFW: pictures to judge the gender by, and pairs of each gender.
PICTURES, PAIRS = 2000, 200


def write_gray(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write a gray picture (224, 224), whole or not at all."""
    _, data = cv2.imencode(".png", pixels)
    ensure_folder(path.parent)
    with whole(path) as fresh:
        fresh.write_bytes(data.tobytes())
    return path


def gray_of(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)


def generate(crops: Crops, san: San, place: Path, batch: int = 4) -> dict[str, dict[str, Path]]:
    """Write the outputs of the faces to ``place/{female,male}/{SM,NT,OP}/NAME.png``; output → key → file."""
    files = {
        output: {row.key: place / GENDERS[int(row.gender or 0)] / output / name_of(row) for row in crops.rows}
        for output in OUTPUTS
    }
    todo = [i for i, row in enumerate(crops.rows) if not all(files[o][row.key].is_file() for o in OUTPUTS)]
    for start in tqdm(range(0, len(todo), batch), desc=place.parent.name, unit="batch", disable=not todo):
        part = todo[start : start + batch]
        faces = crops.take(part).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        gender = np.array([crops.rows[i].gender for i in part], np.int64)
        for output in OUTPUTS:
            san.prototype = output.lower()
            made = np.rint(255 * san.protected_gray(faces, gender)[:, 0]).clip(0, 255).astype(np.uint8)
            for i, pixels in zip(part, made, strict=True):
                write_gray(files[output][crops.rows[i].key], pixels)
    return files


def name_of(row: Row) -> str:
    return f"{Path(row.key).stem}.png"


def originals(crops: Crops, place: Path, folder: str) -> dict[str, Path]:
    """Write the gray crops themselves to ``place/{female,male}/FOLDER/NAME.png``, FOLDER may be ""; key → file."""
    files = {}
    for i, row in enumerate(crops.rows):
        files[row.key] = place / GENDERS[int(row.gender or 0)] / folder / name_of(row)
        if not files[row.key].is_file():
            write_gray(files[row.key], gray_of(crops.take([i])[0]))
    return files


def cropped(table: Table) -> Crops:
    """The crops of the pictures whose gender is known."""
    crops = open_crops(table)
    known = [i for i, row in enumerate(crops.rows) if row.gender is not None]
    return Crops(crops.take(known), [crops.rows[i] for i in known], crops.problems)


def read_gray(files: Sequence[Path]) -> torch.Tensor:
    """Gray pictures as float32 (N, 1, 224, 224) in [0, 1]."""
    return torch.from_numpy(np.stack([cv2.imread(str(f), cv2.IMREAD_GRAYSCALE) for f in files])[:, None]).float() / 255


def matchers(vggface: Path | None) -> dict[str, torch.nn.Module]:
    """The report's two matchers, gray faces to raw descriptors."""
    if vggface is None:
        first = {"SFace, for the report's VGG-Face": load_matcher("sface", normalize=False)}
    else:
        first = {"VGG-Face": load_matcher("vggface", str(vggface), normalize=False)}
    return {**first, "FaceNet": load_matcher("facenet", normalize=False)}


@torch.no_grad()
def described(matcher: torch.nn.Module, files: Sequence[Path], batch: int = 16) -> NDArray[np.float64]:
    """Raw descriptors (N, D) of gray pictures."""
    parts = [matcher(read_gray(files[i : i + batch]).expand(-1, 3, -1, -1)) for i in range(0, len(files), batch)]
    return torch.cat(parts).double().numpy()


def match_auc(gallery: NDArray[np.float64], probes: NDArray[np.float64]) -> float:
    """AUC of equation 6: row i of both is person i, every other row somebody else.

    >>> match_auc(np.eye(3), 2 * np.eye(3))
    1.0
    """
    distance = np.linalg.norm(gallery[:, None] - probes[None], axis=2)
    same = np.eye(len(gallery), dtype=bool)
    return auc(same.ravel().astype(np.int64), match_probability(distance.ravel()))


def sampled(pairs: Sequence[tuple[Row, Row]], each: int, seed: int = 1) -> list[tuple[Row, Row]]:
    """``each`` pairs of women and as many of men, drawn by seed; all of a gender that has fewer."""
    found: list[tuple[Row, Row]] = []
    for gender in (0, 1):
        mine = [pair for pair in pairs if pair[0].gender == gender]
        drawn = np.random.default_rng([seed, gender]).permutation(len(mine))[:each]
        found += [mine[i] for i in sorted(drawn.tolist())]
    return found


@torch.no_grad()
def gender_table(
    name: str,
    before: Mapping[str, Path],
    made: Mapping[str, Mapping[str, Path]],
    rows: Sequence[Row],
    *,
    classifier: torch.nn.Module,
    work: Path,
    workers: int,
) -> list[dict[str, object]]:
    """AUC of the gender of every output, by the auxiliary classifier and by the referees."""
    table = Table(name, work, [replace(row, path=before[row.key]) for row in rows])
    variants = {output: {row.key: files[row.key] for row in rows} for output, files in made.items()}
    measured = protocol.measure(table, variants, referees=load(threads=1, only=GENDER), folder=work, workers=workers)
    lines: dict[str, dict[str, object]] = {}
    for row in summary.gender_rows(measured, resamples=50):
        lines.setdefault(row["referee"], {"set": name, "by": row["referee"]})[row["variant"]] = row["auc"]
    truth = np.array([row.gender for row in rows], np.int64)
    own: dict[str, object] = {"set": name, "by": "auxiliary, which trained it"}
    for variant, files in {protocol.BEFORE: before, **made}.items():
        paths = [files[row.key] for row in rows]
        p = torch.cat([classifier(read_gray(paths[i : i + 32])).float() for i in range(0, len(paths), 32)]).softmax(1)
        own[variant] = auc(truth, p[:, 1].double().numpy())
    return [own, *lines.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with celeba and lfw, see docs/data.md")
    parser.add_argument("--weights", type=Path, help="a run of halfmask train san  [default: SAN+]")
    parser.add_argument("--classifier", default="gender", help="the auxiliary gender classifier, a file or a name")
    parser.add_argument("--vggface", type=Path, help="the published VGG-Face weights")
    parser.add_argument("--out", type=Path, default=Path("runs/report"))
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of CelebA, at most")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of LFW, of each gender")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    san = San(weights=asked.weights) if asked.weights else San()
    classifier = load_classifier(asked.classifier)
    celeba = cropped(read("celeba", asked.data / "celeba").split("test"))
    drawn = sorted(np.random.default_rng(1).permutation(len(celeba.rows))[: asked.pictures].tolist())
    celeba = Crops(celeba.take(drawn), [celeba.rows[i] for i in drawn], celeba.problems)
    test = originals(celeba, asked.out / "celeba" / "test", "")
    made = generate(celeba, san, asked.out / "celeba" / "generated")
    pairs = one_pair_each(read("lfw", asked.data / "lfw"))
    counts = [sum(pair[0].gender == gender for pair in pairs) for gender in (0, 1)]
    print(f"LFW: {counts[0]} pairs of women and {counts[1]} of men; the report has 442 and 1,237")
    home = asked.out / "lfw"
    first, second = (cropped(Table("lfw", asked.data / "lfw", [pair[k] for pair in pairs])) for k in (0, 1))
    one, two = originals(first, home, "OR_1"), originals(second, home, "OR_2")
    lfw = generate(first, san, home)
    how = {"classifier": classifier, "workers": asked.workers}
    rows = gender_table("celeba", test, made, celeba.rows, work=asked.out / "work", **how)
    rows += gender_table("lfw", one, lfw, first.rows, work=asked.out / "work", **how)
    variants = (protocol.BEFORE, *OUTPUTS)
    heads = {"set": "set", "by": "by"} | {name: f"{name}|.3f" for name in variants}
    print(f"## Gender, AUC\n\n{markdown(rows, heads)}\n")
    here = [pair for pair in pairs if pair[0].key in one and pair[1].key in two]
    sample = sampled(here, asked.pairs)
    if not sample:
        raise DataError("no pair of LFW has a face in both photos")
    lines = []
    for name, matcher in matchers(asked.vggface).items():
        gallery = described(matcher, [two[b.key] for _, b in sample])
        shown = {protocol.BEFORE: one, **lfw}
        areas = {v: match_auc(gallery, described(matcher, [shown[v][a.key] for a, _ in sample])) for v in variants}
        lines.append({"by": name, "pairs": len(sample), **areas})
    heads = {"by": "by", "pairs": "pairs"} | {name: f"{name}|.3f" for name in variants}
    print(f"## Matching by equation 6, AUC\n\n{markdown(lines, heads)}")


if __name__ == "__main__":
    main()
