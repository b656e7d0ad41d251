"""The command line: parse, call, print. Nothing heavy is imported before a command runs.

Exit codes: 0 all done, 2 the request made no sense, 3 something failed (the output says what), 130 Ctrl-C.
"""

from __future__ import annotations

import sys

import click

from .. import __version__
from ..errors import HalfmaskError, UsageError
from .audit import audit
from .benchmark import benchmark
from .data import data
from .deidentify import deidentify
from .faces import faces
from .models import methods, models
from .predict import predict
from .protect import protect
from .train import train


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="halfmask")
def cli() -> None:
    """Change face photos so that classifiers find it harder to read the gender; they still match the person."""


for _command in (protect, deidentify, audit, predict, faces, methods, models, data, train, benchmark):
    cli.add_command(_command)


def main(args: list[str] | None = None) -> None:
    """Run a command line and exit with its code."""
    try:
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
