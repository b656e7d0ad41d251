"""The papers' figures for the docs, from results of halfmask benchmark and from free faces.

    halfmask benchmark san-table2 san-table3 family privacynet --data DIR -o runs/benchmark
    python scripts/paper_figures.py --data DIR --out docs/figures runs/benchmark/san-table2.json ...

Every figure that a result holds enough for is drawn again from it. Without results, only what needs no measurement is
drawn: the faces and prototypes of the benchmarks that name faces. These are FairFace's (CC BY 4.0), no other set's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from halfmask.evaluation.benchmark import figures
from halfmask.evaluation.benchmark.config import read_config, shipped
from halfmask.evaluation.benchmark.run import show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="NAME.json of halfmask benchmark")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--data", type=Path, help="folder of the data sets, for the faces")
    parser.add_argument("--work", type=Path, default=Path("runs/figures"), help="where protected faces are kept")
    parser.add_argument("--only", nargs="*", help="of these benchmarks alone, the faces")
    asked = parser.parse_args()
    made: list[Path] = []
    for path in asked.results:
        result = json.loads(path.read_text("utf-8"))
        if result.get("most") is not None:
            raise SystemExit(f"{path} is a quick look at few pictures; expected a whole run")
        made += figures.draw(result, asked.out)
    if asked.data:
        for name, path in shipped().items():
            config = read_config(path)
            if config.faces and (not asked.only or name in asked.only):
                for drawn in show(config, data=asked.data, out=asked.work):
                    made.append(asked.out / drawn.name)
                    made[-1].parent.mkdir(parents=True, exist_ok=True)
                    made[-1].write_bytes(drawn.read_bytes())
    for figure in made:
        print(figure)


if __name__ == "__main__":
    main()
