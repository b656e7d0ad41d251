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


@click.command()
@click.argument("recipe", type=click.Choice(list(RECIPES)))
@click.option(
    "--config", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML of the recipe."
)
@click.option("--out", "-o", required=True, type=click.Path(file_okay=False, path_type=Path), help="The run's folder.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on from the folder's last checkpoint.")
def train(recipe: str, config: Path, out: Path, resume: bool) -> None:
    """Train a network by its RECIPE; needs halfmask[train].

    The folder gets the resolved config, a log, loss plots, checkpoints and the weights. Run the same line again after
    an interruption.
    """
    require(("torch", "accelerate", "yaml"), "training")
    module, kind, function = RECIPES[recipe]
    training = import_module(f"halfmask.training.{module}")
    load_config = import_module("halfmask.training.loop").load_config
    weights = getattr(training, function)(load_config(getattr(training, kind), config), out, resume=resume)
    click.echo(f"done: {weights}")
