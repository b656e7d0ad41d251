"""Measure the trained SANs as a user would run them: the tables of docs/results.md, "SAN".

    python benchmarks/san.py --data ../shared/data --peers ../shared/peers --out runs/results/san

For CelebA's test people and for LFW: gender error, AUC and EER before, SM, NT, OP, by the auxiliary classifier and by
three referees; TMR at FMR 1 % and 0.1 % by two referees, originals in the gallery, thresholds fixed on originals; SSIM
and PSNR. Methods: the SAN that ships, the SAN trained on CelebA when its run folder is given, and the SAN authors' own
weights. Writes ``DATASET.json`` and ``DATASET.md`` to ``--out``; can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halfmask.datasets import Pair, Table, lfw_pairs, read
from halfmask.evaluation import protocol, tables
from halfmask.evaluation.referees import GENDER, MATCHERS
from halfmask.methods.labels import GenderEstimate
from halfmask.methods.runtime import Faces, gray
from halfmask.methods.san import San
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Face


class Auxiliary:
    """Our own gender classifier as one more column: it trained the SAN, so it is no referee, and the tables say so."""

    name = "auxiliary"

    def __init__(self, threads: int) -> None:
        self._net = GenderEstimate(threads)

    def p_male(self, images: Sequence[NDArray[np.uint8]], faces: Sequence[Face]) -> NDArray[np.float32]:
        crops = [crop_face(image, face.points)[0] for image, face in zip(images, faces, strict=True)]
        stack = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return np.concatenate(
            [self._net.p_male(stack[i : i + 16]).astype(np.float32) for i in range(0, len(stack), 16)]
        )


def variant(method: San, prototype: str) -> protocol.Variant:
    def change(crops: Faces, gender: NDArray[np.int64]) -> Faces:
        parts = [
            np.repeat(
                method.protected_gray(crops[i : i + 8], gender[i : i + 8], prototype) - gray(crops[i : i + 8]), 3, 1
            )
            for i in range(0, len(crops), 8)
        ]
        return np.concatenate(parts)

    return change


def authors(peers: Path, prototypes: Path, out: Path, threads: int) -> San:
    from halfmask.networks.legacy import load_authors_san
    from halfmask.training.export import export_san

    network = export_san(load_authors_san(peers / "conv-autoencoder-e20.pkl"), out / "san-authors.onnx")
    return San("san-authors", threads, network=network, means=prototypes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/results/san"))
    parser.add_argument("--peers", type=Path, help="folder with conv-autoencoder-e20.pkl")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=FOLDER", help="another trained SAN")
    parser.add_argument("--sets", default="celeba,lfw")
    parser.add_argument(
        "--split", default="test", choices=["test", "valid"], help="of CelebA; choices are made on valid"
    )
    parser.add_argument("--prototypes", default="sm,nt,op")
    parser.add_argument("--only", action="store_true", help="leave out the SAN that ships")
    parser.add_argument("--gray", action="store_true", help="make every photo gray first, as in the papers")
    parser.add_argument("--threads", type=int, default=0, help="for each network; 1 when two runs share the machine")
    parser.add_argument("--most", type=int, help="only so many pictures of a set, chosen by person (a quick look)")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    methods: dict[str, San] = {} if asked.only else {"san": San(threads=asked.threads)}
    for given in asked.run:
        name, _, folder = given.partition("=")
        methods[name] = San(name, asked.threads, network=Path(folder) / "san.onnx", means=Path(folder) / "san.npz")
    if asked.peers:
        from halfmask.weights import shipped

        methods["san-authors"] = authors(asked.peers, shipped.path("san.npz"), asked.out, asked.threads)
    wanted = {
        f"{name}/{p}": variant(method, p) for name, method in methods.items() for p in asked.prototypes.split(",")
    }
    tag = " ".join(f"{name}:{method.fingerprint}" for name, method in methods.items())
    genders = {name: make(asked.threads) for name, make in GENDER.items()} | {"auxiliary": Auxiliary(asked.threads)}
    matchers = {name: make() if name == "dlib" else make(asked.threads) for name, make in MATCHERS.items()}
    for name in asked.sets.split(","):
        table = read(name, asked.data / name)
        pairs: list[Pair] | None = None
        only: set[str] | None = None
        if name == "celeba":
            table = table.split(asked.split)
        if name == "lfw":
            pairs = lfw_pairs(asked.data / name)
            only = {p.b for p in pairs if p.same}  # the probes; the rest of LFW is gallery and sets the thresholds
        if asked.most:
            table, pairs, only = subset(table, asked.most), None, None  # every two pictures are a pair
        label = f"{name}-gray" if asked.gray else name
        measured = protocol.measure(
            table,
            wanted,
            genders=genders,
            matchers=matchers,
            folder=asked.out / label,
            only=only,
            gray=asked.gray,
            tag=tag,
        )
        report(label, measured, tables.match_rows(measured, matchers, pairs), asked.out)


def subset(table: Table, most: int) -> Table:
    """Whole people, in the order of a fixed shuffle, until there are ``most`` pictures."""
    people = sorted({r.identity or r.key for r in table})
    np.random.default_rng(0).shuffle(people)
    chosen: set[str] = set()
    total = 0
    sizes: dict[str, int] = {}
    for r in table:
        sizes[r.identity or r.key] = sizes.get(r.identity or r.key, 0) + 1
    for person in people:
        if total >= most:
            break
        chosen.add(person)
        total += sizes[person]
    return table.where(lambda r: (r.identity or r.key) in chosen)


def report(name: str, measured: dict[str, protocol.Measured], matching: list[tables.Row], out: Path) -> None:
    genders, looks = tables.gender_rows(measured), tables.looks_rows(measured)
    (out / f"{name}.json").write_text(
        json.dumps({"gender": genders, "matching": matching, "looks": looks}, indent=1), "utf-8"
    )
    percent = partial("{}|.1%".format)
    text = "\n\n".join(
        [
            tables.markdown(
                genders,
                {
                    "variant": "variant",
                    "referee": "by",
                    "n": "faces",
                    "lost": "lost",
                    "error": percent("error"),
                    "error_low": percent("95 % from"),
                    "error_high": percent("to"),
                    "auc": "AUC|.3f",
                    "eer": percent("EER"),
                },
            ),
            tables.markdown(
                matching,
                {
                    "variant": "variant",
                    "matcher": "by",
                    "genuine": "genuine pairs",
                    "impostors": "impostor pairs",
                    "tmr@0.01": percent("TMR at FMR 1 %"),
                    "tmr@0.001": percent("TMR at FMR 0.1 %"),
                },
            ),
            tables.markdown(looks, {"variant": "variant", "ssim": "SSIM|.3f", "psnr": "PSNR dB|.1f"}),
        ]
    )
    (out / f"{name}.md").write_text(text + "\n", "utf-8")
    print(f"## {name}\n\n{text}\n")


if __name__ == "__main__":
    main()
