"""``halfmask serve``: a page and an API on this computer."""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING

import click

from ..errors import HalfmaskError, UsageError, require

if TYPE_CHECKING:
    import socket

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
#: Letters of the least token that is taken from outside: 128 bits in hex digits.
_SHORTEST = 32


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8300, show_default=True, help="0 takes any free one.")
@click.option("--allow-remote", is_flag=True, help="Let --host be an address that other computers can reach.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name under which browsers may reach the server, such as that of a proxy before it. Requests under other "
    "names than this computer's own are refused. May be given several times.",
)
@click.option("--browser/--no-browser", default=True, help="Open the page in your browser.  [default: --browser]")
@click.option("--workers", type=click.IntRange(1, 256), help="Photos at the same time.  [default: one a core]")
@click.option("--queue", type=click.IntRange(0, 10_000), default=32, show_default=True, help="Requests that may wait.")
@click.option("--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True, help="Largest photo.")
@click.option("--max-megabytes", type=click.IntRange(1), default=100, show_default=True, help="Largest file.")
@click.option(
    "--memory", type=click.IntRange(10), default=1000, show_default=True, metavar="MB", help="For photos and results."
)
def serve(
    host: str,
    port: int,
    allow_remote: bool,
    hosts: tuple[str, ...],
    browser: bool,
    workers: int | None,
    queue: int,
    max_pixels: int,
    max_megabytes: int,
    memory: int,
) -> int:
    """Open a page in your browser that protects photos, and an API for programs, on this computer alone.

    Photos stay in memory, and are forgotten 15 minutes after you last looked at them; nothing is written and nobody is
    asked. The address that is printed holds a token: whoever has it may use the page. $HALFMASK_TOKEN sets it.

    End it by Ctrl-C. It needs halfmask[web].
    """
    if host not in _LOOPBACK and not allow_remote:
        raise UsageError(
            f"--host {host} can be reached by other computers, over a line that is not encrypted; keep to 127.0.0.1, "
            "or put a proxy with HTTPS and a login before it (docs/serve.md) and give --allow-remote"
        )
    token = os.environ.get("HALFMASK_TOKEN", "")
    if token and (len(token) < _SHORTEST or not (token.isascii() and token.isprintable() and " " not in token)):
        raise UsageError(
            f"HALFMASK_TOKEN is too short or odd; expected {_SHORTEST} letters or more, by chance, no spaces"
        )
    terminal = sys.stdout.isatty()
    if not (token or terminal or browser):
        raise UsageError(
            "there is no terminal to print the page's address to, which holds the token; a log is no place for it. Set "
            "HALFMASK_TOKEN"
        )
    require(("starlette", "uvicorn", "python_multipart"), "halfmask serve")
    import cv2
    import uvicorn

    from ..protecting.pipeline import cores
    from ..serving.app import create
    from ..serving.limits import MEGA, Limits

    limits = Limits(
        body_bytes=max_megabytes * MEGA,
        pixels=max_pixels,
        memory_bytes=memory * MEGA,
        workers=workers or cores(),
        queue=queue,
    )
    cv2.setNumThreads(1)  # requests run beside each other
    known, token = bool(token), token or secrets.token_hex(32)
    app = create(token, hosts, limits)
    listening = _listen(host, port)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        http="h11",
        ws="none",
        server_header=False,
        limit_concurrency=256,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )
    place = f"[{host}]" if ":" in host else host
    address = f"http://{place}:{listening.getsockname()[1]}/"
    secret = f"{address}#{token}"
    click.echo(f"halfmask is at {secret if terminal and not known else address}")
    click.echo("Ctrl-C ends it. Photos stay in this computer's memory and are forgotten after 15 minutes.")
    if browser:
        import webbrowser

        webbrowser.open(secret)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    import socket  # every command loads this module

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise HalfmaskError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}. Another program may have it, maybe a "
            "halfmask serve that still runs; give another --port, or --port 0 for any that is free"
        ) from error
    return listening
