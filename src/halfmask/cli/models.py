"""``halfmask methods`` and ``halfmask models``: what there is to run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell.

    >>> print(table(["name", "size"], [["yunet", "0.2 MB"]]))
    name   size
    yunet  0.2 MB
    """
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


#: What our own networks do, and their role; whatever else is shipped later still gets its line.
_OURS = {
    "san.onnx": ("SAN, hides gender", "method"),
    "san.npz": ("SAN's prototypes, mean faces", "method"),
    "san-plus.onnx": ("SAN+, hides gender", "method"),
    "san-plus.npz": ("SAN+'s prototypes, mean faces", "method"),
    "mixing.npz": ("mean faces to mix with", "method"),
    "gender.onnx": ("gender, when no label is given", "auxiliary"),
    "fairface-gendercnn.onnx": ("gender, age, race: halfmask predict", "auxiliary"),
    "attributes.onnx": ("age and race, for methods that need them", "auxiliary"),
    "fairface-gendercnn.safetensors": ("gender, age, race, to train against", "auxiliary"),
    "fairface-resnet.safetensors": ("gender, age, race, to train against", "auxiliary"),
    "race-fairface.npz": ("race from w600k_mbf, taught by FairFace", "referee"),
    "race-utkface.npz": ("race from w600k_mbf, taught by UTKFace", "referee"),
}


def _of_method(stem: str) -> tuple[str, str]:
    """Job and role of a network that is called after the method it belongs to, as ``ensemble-1`` is.

    >>> _of_method("ensemble-1"), _of_method("other")
    (('for protect --method ensemble', 'method'), ("halfmask's own", 'ours'))
    >>> _of_method("stranger")
    ('for deidentify --method stranger', 'method')
    """
    from ..methods import METHODS
    from ..methods.choice import IDENTITY

    name = stem.partition("-")[0]
    if name not in METHODS:
        return "halfmask's own", "ours"
    verb = "deidentify" if IDENTITY in METHODS[name].cls.hides else "protect"
    return f"for {verb} --method {name}", "method"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 50_000 else f"{size / 1e3:.0f} kB"


#: Which method to take, by what is wanted; a few lines, whatever methods there are.
_ADVICE = (
    ("machines should not read the gender (or age, race)", "halfmask (default)", "matches the person; no label needed"),
    (
        "machines should not recognise the person",
        "deidentify, stranger",
        "by halfmask deidentify; stranger is fast, hides less",
    ),
    ("age or race is to be hidden, too, the rest kept", "privacynet", "hides the gender less"),
    (
        "you compare with the papers on SANs",
        "san, ensemble, flowsan",
        "trained readers read all; weights=plus is SAN+, ours",
    ),
    ("you compare with the paper on P-FGVM", "p-fgvm, i-fgvm, i-fgsm", "deceive the one network that you name"),
    ("you need a baseline: a blend with another face", "mixing", "costs more of the match"),
)
_FURTHER = """
Run one by: halfmask protect --method NAME. What it can be set to: halfmask methods NAME.
What was measured of all of them: halfmask methods --figures."""

#: Figures that ``halfmask methods --figures`` shows, and what they are called there; --json gives all.
_SHOWN = {"auc": "AUC", "retrained": "retrained", "tmr@0.01": "TMR 1 %", "tmr@0.001": "TMR 0.1 %", "ssim": "SSIM"}
_EXPLAINED = """
AUC is the gender's, by a referee that trained no method: 0.5 is chance. Retrained is the balanced accuracy of a
classifier trained on protected photos: 50 % is chance. TMR is the share of a person's photos that a matcher still
takes for the same person, at that FMR; SSIM is how alike the face looks, 1 is the same.
Measured by halfmask benchmark {benchmark}, halfmask {halfmask}, {created}."""


@click.command()
@click.argument("name", required=False)
@click.option("--figures", is_flag=True, help="Print what was measured, what each method costs and can be set to.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, with every figure that was measured.")
def methods(name: str | None, figures: bool, as_json: bool) -> None:
    """Say which method to use; with NAME, what that one can be set to.

    With --figures, what each hides, costs and was measured to do. Cost is the size of its own weights and the
    milliseconds that one face takes one core. Each figure stands under the data set on which and beside the referee by
    which it was measured.
    """
    from ..errors import UsageError
    from ..methods import DEFAULT, METHODS
    from ..methods.figures import measured

    if name is not None and name not in METHODS:
        raise UsageError(f"no method is called {name!r}; known: {', '.join(sorted(METHODS))}")
    if name is not None and (figures or as_json):
        raise UsageError("NAME asks for one method's settings; leave out --figures and --json, which tell of all")
    if name is not None:
        click.echo(table(("setting", "meaning"), _settings(METHODS[name].cls.settings)))
        return
    if not (figures or as_json):
        click.echo(table(("if", "take", "note"), _ADVICE))
        click.echo(_FURTHER)
        return
    known = measured()
    entries: list[dict[str, Any]] = []
    for kind in METHODS.values():
        method = kind.cls
        entries.append(
            {
                "name": kind.name,
                "default": kind.name == DEFAULT,
                "hides": sorted(method.hides),
                "prototypes": list(method.choices.get("prototype", ())),
                "needs_label": method.needs_label,
                "settings": dict(method.settings),
                "weights_bytes": _weights(kind.name, method.models),
                "measured": [m for m in known["methods"] if m["method"] == kind.name],
            }
        )
    if as_json:
        click.echo(json.dumps({**known, "methods": entries}, indent=1))
        return
    head = ("method", "hides", "prototypes", "gender label", "weights", "ms a face")
    click.echo(table(head, [_about(entry) for entry in entries]))
    settings = [(e["name"], *row) for e in entries for row in _settings(e["settings"])]
    click.echo("\n" + table(("method", "setting", "meaning"), settings))
    for place, originals in known["originals"].items():
        keys = [key for stem in _SHOWN for key in originals if key.partition("/")[0] == stem]
        keys += ["ssim"]  # which originals have none of
        rows = [("originals", *(_figure(originals, key) for key in keys))]
        rows += [
            (m["label"], *(_figure(m["figures"][place], key) for key in keys))
            for m in known["methods"]
            if place in m["figures"]
        ]
        heads = [" ".join(filter(None, [_SHOWN[key.partition("/")[0]], key.partition("/")[2]])) for key in keys]
        click.echo("\n" + table((f"on {place}", *heads), rows))
    if known["originals"]:
        click.echo(_EXPLAINED.format_map(known))
    if absent := [e["name"] for e in entries if not e["measured"]]:
        click.echo(f"\nnot measured: {', '.join(absent)}")


def _settings(settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """How each setting is given on the command line, and what it means.

    >>> _settings({"hide": "gender or age", "key": "a secret"})
    [('--hide', 'gender or age'), ('--set key=', 'a secret')]
    """
    own = ("hide", "strength", "prototype")  # which have an option of their own
    return [(f"--{name}" if name in own else f"--set {name}=", text) for name, text in settings.items()]


def _about(entry: Mapping[str, Any]) -> tuple[str, ...]:
    took = sorted(m["ms"] for m in entry["measured"] if m["ms"] is not None)
    span = [f"{ms:.3g}" for ms in (took[0], took[-1])] if took else ["not measured"]
    return (
        entry["name"] + (" (default)" if entry["default"] else ""),
        ", ".join(entry["hides"]),
        ", ".join(entry["prototypes"]) or "none",
        "given, or estimated" if entry["needs_label"] else "not needed",
        _size(entry["weights_bytes"]) if entry["weights_bytes"] else "none shipped",
        "–".join(dict.fromkeys(span)),
    )


def _weights(name: str, models: Sequence[str]) -> int:
    """Bytes of what a method runs on: its own shipped networks, and those of others that it fetches."""
    from ..weights import shipped, store

    own = [f for f in map(Path, shipped.manifest()) if f.suffix in (".onnx", ".npz")]
    own = [f for f in own if f.stem == name or f.stem.startswith(f"{name}-")]
    sizes = [path.stat().st_size for f in own if (path := shipped.DATA / f).is_file()]
    return sum(sizes) + sum(store.MODELS[m].size for m in models)


def _figure(figures: Mapping[str, float], key: str) -> str:
    """A figure as the table has it.

    >>> _figure({"auc/r": 0.8504, "retrained": 0.61}, "auc/r"), _figure({"retrained": 0.61}, "retrained")
    ('0.850', '61.0%')
    """
    value = figures.get(key)
    if value is None:
        return "–"
    return f"{value:.3f}" if key.partition("/")[0] in ("auc", "ssim") else f"{value:.1%}"


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the networks that halfmask uses, its own and those of others, and whether they are here."""
    if context.invoked_subcommand is not None:
        return
    from ..weights import shipped, store

    rows = []
    for file, entry in sorted(shipped.manifest().items()):
        path = shipped.DATA / file
        runs = f"{path.stem}.onnx" in shipped.manifest()  # then its safetensors are the same network for torch
        if path.suffix == ".md" or (path.suffix == ".safetensors" and runs):
            continue
        here = "in the package" if path.is_file() else "MISSING"
        size = _size(path.stat().st_size) if path.is_file() else "?"
        job, role = _OURS.get(file) or _of_method(path.stem)
        rows.append((file, job, size, entry.get("licence", "see its card"), role, here))
    for m in store.MODELS.values():
        here = "yes" if store.present(m.name) else "no, fetched when needed"
        rows.append((m.name, m.job, _size(m.size), m.licence, m.role, here))
    click.echo(table(("name", "job", "size", "licence", "role", "here"), rows))
    click.echo(f"\nfetched models live in {store.cache_dir() / 'models'}")


@models.command()
@click.argument("names", nargs=-1, required=True)
def get(names: tuple[str, ...]) -> None:
    """Fetch models by NAME, or "all", so that later runs need no network."""
    from ..weights import store

    for name in store.MODELS if names == ("all",) else names:
        path = store.get(name, say=lambda line: click.echo(line, err=True))
        click.echo(f"{name}: {path}")


@models.command()
def check() -> int:
    """Compare every network that is here with its sha256; exits with 3 when one is damaged."""
    from ..errors import WeightsError
    from ..weights import shipped, store

    code = 0
    for name in [*sorted(shipped.manifest()), *(n for n in store.MODELS if store.present(n))]:
        try:
            store.get(name, fetch=False) if name in store.MODELS else shipped.path(name)
        except WeightsError as error:
            code = 3
            click.echo(f"{name}: {error}")
        else:
            click.echo(f"{name}: whole")
    return code
