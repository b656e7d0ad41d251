"""``halfmask train``: run a recipe."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from ..errors import require

#: Recipe → its module in halfmask.training, config class and function.
RECIPES = {
    "gender": ("gender", "GenderConfig", "train_gender"),
    "san": ("san", "SanConfig", "train_san"),
    "ensemble": ("ensemble", "EnsembleConfig", "train_ensemble"),
    "flowsan": ("flowsan", "FlowSanConfig", "train_flowsan"),
    "attribute": ("attribute", "AttributeConfig", "train_attribute"),
    "halfmask": ("halfmask", "HalfmaskConfig", "train_halfmask"),
    "matcher": ("matcher", "MatcherConfig", "train_matcher"),
    "privacynet": ("privacynet", "PrivacyNetConfig", "train_privacynet"),
    "identity": ("identity", "IdentityConfig", "train_identity"),
}


def _list(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print each config's name and the first line of what it says of itself, and end."""
    if not asked:
        return
    require(("yaml",), "training")
    from ..training.config import about, shipped
    from .models import table

    click.echo(table(("config", "what it is"), [(name, about(path)) for name, path in shipped().items()]))
    context.exit()


@click.command()
@click.argument("recipe", type=click.Choice(list(RECIPES)))
@click.option(
    "--config", "-c", required=True, metavar="NAME|FILE", help="A config that ships, by name, or a YAML file."
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that holds the data sets, each in a folder of its layout's name: celeba, fairface, ...",
)
@click.option("--out", "-o", required=True, type=click.Path(file_okay=False, path_type=Path), help="The run's folder.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on from the folder's last checkpoint.")
@click.option(
    "--list",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_list,
    help="List the configs that ship, and do nothing.",
)
def train(recipe: str, config: str, data: Path | None, out: Path, resume: bool) -> None:
    """Train a network by its RECIPE; needs halfmask[train].

    The folder gets the resolved config, a log, loss plots, checkpoints and the weights. Run the same line again after
    an interruption. What a config says of data is looked for in the folder of --data; without it, from where you are.

    --list says of a config that nobody ran it in full; the recipe matcher has no other.
    """
    require(("torch", "accelerate", "yaml"), "training")
    module, kind, function = RECIPES[recipe]
    training = import_module(f"halfmask.training.{module}")
    load_config = import_module("halfmask.training.config").load_config
    weights = getattr(training, function)(load_config(getattr(training, kind), config, data), out, resume=resume)
    click.echo(f"done: {weights}")
