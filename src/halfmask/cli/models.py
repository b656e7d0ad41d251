"""``halfmask methods`` and ``halfmask models``: what there is to run."""

from __future__ import annotations

from collections.abc import Sequence

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
    "gender.onnx": ("gender, when no label is given", "auxiliary"),
    "attributes.onnx": ("gender, age, race: halfmask predict", "auxiliary"),
    "fairface-gendercnn.safetensors": ("gender, age, race, to train against", "auxiliary"),
    "fairface-resnet.safetensors": ("gender, age, race, to train against", "auxiliary"),
    "race-fairface.npz": ("race from w600k_mbf, taught by FairFace", "referee"),
    "race-utkface.npz": ("race from w600k_mbf, taught by UTKFace", "referee"),
}


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 50_000 else f"{size / 1e3:.0f} kB"


@click.command()
def methods() -> None:
    """List the methods that can change a face, and what each can be set to."""
    from ..methods import DEFAULT, METHODS

    rows, settings = [], []
    for name, kind in METHODS.items():
        method = kind.made
        settings += [(name, f"--set {setting}=", text) for setting, text in method.settings.items()]
        rows.append(
            (
                name + (" (default)" if name == DEFAULT else ""),
                ", ".join(sorted(method.hides)),
                ", ".join(method.prototypes) or "none",
                "given, or estimated" if method.needs_label else "not needed",
            )
        )
    click.echo(table(("method", "hides", "prototypes", "gender label"), rows))
    click.echo("\n" + table(("method", "setting", "meaning"), settings))


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
        job, role = _OURS.get(file, ("halfmask's own", "ours"))
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
