"""How well our attribute networks read gender, race and age, on data sets that they were not trained on, and by group.

    for c in attributes celeba fairface-gendercnn fairface-resnet gender-all utkface; do
        halfmask train attribute --config attributes/$c --data DIR --out runs/attributes/$c
    done
    python scripts/attributes.py --data DIR --out runs/results runs/attributes/*
    python scripts/attributes.py --data DIR --out runs/results attributes fairface-gendercnn runs/attributes/fastcnn-ce

Judges the ``attribute.onnx`` of every run on CelebA's test people, LFW, UTKFace's test part and FairFace's val: the
tables of docs/results/predict.md. In place of a run may stand the name of a network that ships.
A network that saw none of UTKFace is judged on all of it, too. What a network was trained on is read from the run's
``config.yaml``, and it is never judged on a picture that it saw.

This is no kind of ``halfmask benchmark``, whose tables compare ways to protect photos by referees: here nothing is
protected, and what is judged are the networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from attribute_tables import Answers, tables, to_markdown, write
from numpy.typing import NDArray
from tqdm import tqdm

from halfmask import __version__
from halfmask.datasets.cache import Crops, open_crops
from halfmask.errors import DataError
from halfmask.evaluation.measuring.parts import digest_of
from halfmask.networks.attribute import AttributeNet
from halfmask.predicting.network import AttributeNetwork
from halfmask.storage import ensure_folder, save_arrays
from halfmask.training.attribute import AttributeConfig
from halfmask.training.config import load_config
from halfmask.training.config import shipped as shipped_configs
from halfmask.training.export import export_attribute
from halfmask.training.packs import read_pack
from halfmask.training.sources import source_table
from halfmask.weights import shipped
from halfmask.weights.store import sha256_of

#: Set → its layout and the split that is judged.
SETS = {
    "celeba test": ("celeba", "test"),
    "lfw": ("lfw", None),
    "utkface test": ("utkface", "test"),
    "utkface, all": ("utkface", None),
    "fairface val": ("fairface", "valid"),
}
BATCH = 16
NOTES = (
    "Every face is cut by our template from the data set's own picture and read as halfmask predict reads it: face and "
    "mirror image, averaged. Pictures in which no face is found are left out.",
    "The truth is what annotators wrote down, in UTKFace another network. Its test part has no identities: the same "
    "person may stand in its training part.",
    "Races are compared in UTKFace's five groups. Ages of FairFace are ranges: the error is the distance to the range.",
    "Intervals are 95 % bootstraps by person.",
)


@dataclass(frozen=True)
class Trained:
    """A network that is to be judged, and the config that it was trained by."""

    name: str
    network: Path
    config: AttributeConfig


def find(run: Path, data: Path, work: Path) -> Trained | None:
    """A run's network, or that which ships by this name; None when there is neither."""
    if (run / "attribute.onnx").is_file():
        return Trained(run.name, run / "attribute.onnx", load_config(AttributeConfig, run / "config.yaml"))
    if f"attributes/{run}" not in shipped_configs() or f"{run}.safetensors" not in shipped.manifest():
        return None
    if f"{run}.onnx" in shipped.manifest():
        network = shipped.path(f"{run}.onnx")
    else:
        file = shipped.path(f"{run}.safetensors")
        network = work / f"{run}-{sha256_of(file)[:8]}.onnx"
        if not network.is_file():
            export_attribute(AttributeNet.load(file), network)
    return Trained(str(run), network, load_config(AttributeConfig, f"attributes/{run}", data))


def seen(config: AttributeConfig) -> tuple[str, set[tuple[str, str]]]:
    """What a run was trained on, in words, and the pictures that it saw: layout and key."""
    names: list[str] = []
    keys: set[tuple[str, str]] = set()
    for part in (config.train, config.valid):
        for source in part:
            if "layout" not in source:
                raise DataError(f"{source} does not say which layout it was; write it beside the pack, in config.yaml")
            if "pack" in source:
                rows = read_pack(Path(source["pack"]), source["part"], 8).rows
            else:
                wanted = source.get("splits")
                rows = [row for row in source_table(source) if not wanted or row.split in wanted]
            if part is config.train and source["layout"] not in names:
                names.append(source["layout"])
            keys |= {(source["layout"], row.key) for row in rows}
    return " + ".join(names), keys


def ask(
    network: AttributeNetwork, crops: Crops, chosen: NDArray[np.int64], desc: str
) -> dict[str, NDArray[np.float64]]:
    """Class probabilities of some crops by head."""
    parts: list[Mapping[str, NDArray[np.float64]]] = []
    with tqdm(total=len(chosen), desc=desc, unit="face") as bar:
        for start in range(0, len(chosen), BATCH):
            part = crops.take(chosen[start : start + BATCH])
            parts.append(network.probabilities(part.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)))
            bar.update(len(part))
    return {name: np.concatenate([p[name] for p in parts]) for name in network.classes}


def judge(run: Trained, data: Path, work: Path, threads: int) -> list[Answers]:
    """What a network says of every set that is there and that it did not see; kept in ``work``."""
    network = AttributeNetwork(run.network, threads)
    trained_on, known = seen(run.config)
    found = []
    for name, (layout, split) in SETS.items():
        if not (data / layout).is_dir():
            continue
        table = source_table({"layout": layout, "root": str(data / layout)} | ({"splits": [split]} if split else {}))
        crops = open_crops(table)
        chosen = np.array([i for i, row in enumerate(crops.rows) if split is None or row.split == split], np.int64)
        if any((layout, crops.rows[i].key) in known for i in chosen):
            continue
        pictures = [crops.rows[i] for i in chosen]
        files = [("network", run.network), *((row.key, row.path) for row in pictures)]
        kept = work / f"{run.name}-{name.replace(', ', '-').replace(' ', '-')}-{digest_of(__version__, files)}.npz"
        if not kept.is_file():
            save_arrays(kept, ask(network, crops, chosen, f"{run.name} on {name}"))
        with np.load(kept) as arrays:
            said = {head: arrays[head] for head in network.classes}
        found.append(Answers(run.name, trained_on, name, pictures, network.classes, said))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="+", type=Path, help="run folders, each with attribute.onnx and config.yaml, or names"
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    work = ensure_folder(asked.out / "work" / "attributes")
    found_by_run = {run: find(run, asked.data, work) for run in asked.runs}
    ready = [run for run in found_by_run.values() if run is not None]
    notes = list(NOTES)
    if waiting := [run.name for run, found in found_by_run.items() if found is None]:
        notes.append(f"Not trained yet, so not here: {', '.join(waiting)}.")
    if absent := sorted({layout for layout, _ in SETS.values() if not (asked.data / layout).is_dir()}):
        notes.append(f"Not in {asked.data.name}, so not judged on: {', '.join(absent)}.")
    found = tables([a for run in ready for a in judge(run, asked.data, work, asked.threads)])
    about: dict[str, Any] = {
        "format": 1,
        "halfmask": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "notes": notes,
    }
    write(found, asked.out, about)
    print(to_markdown(found, notes))


if __name__ == "__main__":
    main()
