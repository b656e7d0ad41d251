"""Put a run's trained weights into the package, beside their card, and write the manifest's sha256.

    python scripts/ship.py runs/san --as san --licence "MIT; trained on FairFace (CC BY 4.0)"
    python scripts/ship.py runs/gender --as gender --licence "non-commercial research"
    python scripts/ship.py runs/attributes/fairface-resnet --as fairface-resnet \\
        --licence "MIT; trained on FairFace (CC BY 4.0)" --only safetensors --dtype int8
    python scripts/ship.py runs/attributes/fairface-gendercnn --as fairface-gendercnn \\
        --licence "MIT; trained on FairFace (CC BY 4.0)" --dtype float16
    python scripts/ship.py runs/halfmask-mean --as halfmask --only onnx --eight-bits --data DIR \\
        --licence "MIT; trained on free pictures, see the card"
    python scripts/ship.py --cards

The card is written first, by hand, where it ships: ``src/halfmask/weights/data/NAME.md``, and nowhere else.
``--cards`` takes the sha256 of cards anew after a change of their text and touches no weights.

Copies ``*.onnx``, ``*.safetensors`` and ``*.npz`` of the run folder as ``NAME.*``. Of several files of a kind, as an
ensemble has, each is called ``NAME-STEM.*``: ``ensemble-1.onnx``. What the package may weigh is limited
(tests/weights/test_shipped.py): ``--only`` leaves the other kinds of file as they are, and ``--dtype`` rounds the
weights of an attribute network, which computes in float32 all the same. ``--eight-bits`` writes the ONNX file of a
generator of halfmask's anew so that it runs in 8 bits. The ranges are those that 100 training faces have in it,
FairFace's and the portraits' of DIR, spread evenly.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path

from choose import sources as sources_of_faces
from choose import spread
from eight_bits import GENERATORS

from halfmask.networks.attribute import AttributeNet
from halfmask.networks.halfmask import Masker
from halfmask.training.data import open_faces
from halfmask.training.export import export_masker, halve_weights
from halfmask.weights.shipped import DATA
from halfmask.weights.store import sha256_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--as", dest="name")
    parser.add_argument("--licence", help="one line for `halfmask models`")
    parser.add_argument("--cards", action="store_true", help="only take the sha256 of the cards anew")
    parser.add_argument("--only", choices=("onnx", "safetensors", "npz"), help="ship this kind of file alone")
    parser.add_argument("--dtype", help="of an attribute network: float16; safetensors alone also bfloat16, int8")
    parser.add_argument("--eight-bits", action="store_true", help="of halfmask's generator: ONNX that runs in 8 bits")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where its faces are")
    asked = parser.parse_args()
    path = DATA / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    if asked.cards:
        for file, entry in manifest.items():
            if file.endswith(".md"):
                entry["sha256"] = sha256_of(DATA / file)
        write(path, manifest)
        return
    if not (asked.run and asked.name and asked.licence):
        parser.error("a run's folder, --as NAME and --licence TEXT are needed, or --cards")
    card = f"{asked.name}.md"
    if not (DATA / card).is_file():
        parser.error(f"{DATA / card} is not there; write the card first")
    weights = {f".{asked.only}"} if asked.only else {".onnx", ".safetensors", ".npz"}
    # a recipe's best epoch so far, and what networks say of test or training faces, are notes of the run
    sources = [
        f
        for f in sorted(asked.run.iterdir())
        if f.suffix in weights and f.stem not in ("best", "test") and not f.stem.startswith("untouched-")
    ]
    if not sources:
        parser.error(f"{asked.run} holds no trained weights; did the run end?")
    kinds = Counter(source.suffix for source in sources)
    if asked.eight_bits and (asked.dtype or asked.only != "onnx" or f"{asked.name}.onnx" not in GENERATORS):
        known = ", ".join(file.removesuffix(".onnx") for file in GENERATORS)
        parser.error(f"--eight-bits goes with --only onnx, without --dtype, and is for {known}")
    if asked.dtype not in (None, "float16") and ".onnx" in kinds:
        parser.error(f"ONNX is kept in float16 or as it is, not in {asked.dtype}; --only safetensors leaves it out")
    targets = [
        (source, f"{asked.name}{'' if kinds[source.suffix] == 1 else f'-{source.stem}'}{source.suffix}")
        for source in sources
    ]
    for source, file in targets:
        if asked.dtype and source.suffix == ".safetensors":
            AttributeNet.load(source).save(DATA / file, asked.dtype)
            (DATA / file).chmod(0o644)
        elif asked.dtype and source.suffix == ".onnx":
            halve_weights(source, DATA / file)
            (DATA / file).chmod(0o644)
        elif asked.eight_bits and source.suffix == ".onnx":
            taught = open_faces(sources_of_faces(asked.data)["taught"])
            export_masker(Masker.load(source), DATA / file, taught.take(spread(taught, 100)))
            (DATA / file).chmod(0o644)
        else:
            shutil.copyfile(source, DATA / file)
        manifest[file] = {"sha256": sha256_of(DATA / file), "card": card, "licence": asked.licence}
        print(f"{file}: {(DATA / file).stat().st_size / 1e6:.2f} MB")
    manifest[card] = {"sha256": sha256_of(DATA / card), "card": card, "licence": asked.licence}
    write(path, manifest)


def write(path: Path, manifest: dict[str, dict[str, str]]) -> None:
    path.write_text(json.dumps(dict(sorted(manifest.items())), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
