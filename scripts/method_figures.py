"""Put the figures of an overview benchmark into the package, for ``halfmask methods`` to tell.

    halfmask benchmark family --data DIR -o runs/benchmark
    python scripts/method_figures.py runs/benchmark/family.json
    python scripts/method_figures.py --update runs/benchmark/halfmask.json   # its rows alone: by method and weights

Writes ``src/halfmask/methods/figures.json``. A quick look (``--most``) is no measurement and is refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halfmask.evaluation.measuring.protocol import BEFORE
from halfmask.methods.figures import FORMAT, PLACE
from halfmask.methods.halfmask import SHIPPED
from halfmask.methods.san import PLUS
from halfmask.storage import whole

#: Figures of the table that are told; a column of a referee is called by one of these, a stroke and the referee.
TOLD = ("auc", "balanced_accuracy", "retrained", "probe", "attacked", "tmr@0.01", "tmr@0.001", "mae", "race", "ssim")
ABOUT = ("label", "method", "hide", "prototype", "strength", "settings", "fingerprint")


def figures_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the file, from a result of ``halfmask benchmark`` of kind overview.

    Raises SystemExit when the result is of another kind, or of a quick look.
    """
    if result["kind"] != "overview" or result.get("most") is not None:
        what = "a quick look at few pictures" if result.get("most") is not None else f"a table of {result['kind']}"
        raise SystemExit(f"{result['name']} is {what}; expected a whole run of an overview, as family.yaml is")
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for row in result["rows"]:
        told = {k: round(v, 4) for k, v in row.items() if k.partition("/")[0] in TOLD and v is not None}
        rows.setdefault(row["variant"], {})[row["set"]] = told
    methods = [
        {k: m[k] for k in ABOUT} | {"ms": m["ms"] and round(m["ms"], 2), "figures": rows[m["label"]]}
        for m in result["methods"]
        if "best_of" not in m and m["label"] in rows
    ]
    about = {"format": FORMAT, "benchmark": result["name"], "halfmask": result["halfmask"]}
    return {**about, "created": result["created"], "originals": rows.get(BEFORE, {}), "methods": methods}


def updated(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old file with the methods of a new result in place of its own, by weights; what does not ship is left out.

    >>> old = {"benchmark": "a", "halfmask": "1", "methods": [{"method": "x"}, {"method": "y"}]}
    >>> new = {"benchmark": "b", "halfmask": "2", "methods": [{"method": "x", "settings": {}}]}
    >>> updated(old, new)["methods"], updated(old, new)["benchmark"]
    ([{'method': 'y'}, {'method': 'x', 'settings': {}}], 'a, b')
    """
    fresh = [m for m in new["methods"] if m["settings"].get("weights") in (None, *SHIPPED, PLUS)]
    weights = lambda m: (m["method"], m.get("settings", {}).get("weights"))  # noqa: E731
    measured = {weights(m) for m in fresh}
    rest = [m for m in old["methods"] if weights(m) not in measured]
    names = [*old["benchmark"].split(", "), new["benchmark"]]
    return {**old, **new, "originals": old.get("originals", {}), "methods": rest + fresh} | {
        "benchmark": ", ".join(dict.fromkeys(names))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="NAME.json of halfmask benchmark")
    parser.add_argument("--update", action="store_true", help="keep the methods that the result does not measure")
    parser.add_argument("--out", type=Path, default=PLACE, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    found = figures_of(json.loads(asked.result.read_text("utf-8")))
    if asked.update:
        found = updated(json.loads(asked.out.read_text("utf-8")), found)
    with whole(asked.out) as fresh:
        fresh.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(f"{len(found['methods'])} methods on {', '.join(found['originals'])}: {asked.out}")


if __name__ == "__main__":
    main()
