"""The command line: parse, call, print. Nothing heavy is imported before a command runs.

Exit codes: 0 all done, 2 the request made no sense, 3 something failed (the output says what), 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys

import click

from .. import __version__
from ..errors import HalfmaskError, UsageError, shown
from .audit import audit
from .benchmark import benchmark
from .data import data
from .deidentify import deidentify
from .faces import faces
from .models import methods, models
from .predict import predict
from .protect import protect
from .serve import serve
from .train import train


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="halfmask")
def cli() -> None:
    """Change face photos so that classifiers find it harder to read the gender; they still match the person."""


for _command in (protect, deidentify, serve, audit, predict, faces, methods, models, data, train, benchmark):
    cli.add_command(_command)


def _refuse_glued(args: list[str]) -> None:
    """Raise :class:`~halfmask.errors.UsageError` for a word that means a file but would be taken for options.

    Of -holiday.jpg click makes -h, which asks for help, and -o; of -out.jpg an output. That is what a pattern of the
    shell may give in a folder with such files.
    """
    for word in args[: args.index("--")] if "--" in args else args:
        if word.startswith("--") or not word.startswith("-") or len(word) < 3:
            continue  # of two dashes click knows what to say
        if os.path.lexists(word) or word.startswith(("-h", "-qh")):
            raise UsageError(
                f"{shown(word)} would be taken for options; a file of that name is given as .{os.sep}{shown(word)}, or "
                "behind --. Help is --help"
            )


def main(args: list[str] | None = None) -> None:
    """Run a command line and exit with its code."""
    args = sys.argv[1:] if args is None else args
    try:
        _refuse_glued(args)
        code = cli.main(args, standalone_mode=False)
    except click.UsageError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        error.show()
        code = 3
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except HalfmaskError as error:
        click.echo(f"Error: {error}", err=True)
        code = 2 if isinstance(error, UsageError) else 3
    sys.exit(code if isinstance(code, int) else 0)
