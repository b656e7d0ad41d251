"""Who may ask: this page and programs that know the token, under a name of this server, from no other site."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Refused

#: The names under which a server that answers this machine alone is reached.
LOCAL = ("127.0.0.1", "localhost", "::1")

#: What every answer says: nothing from elsewhere runs here, nothing is kept, guessed, framed or told on.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), display-capture=()",
}


class Guard:
    """The outermost layer: refuses before anything is read, and puts :data:`HEADERS` on every answer.

    ``hosts`` are the names that the server goes by; a browser that was led here under another name (DNS rebinding) is
    refused even with the token. Requests below ``/api/`` need the ``token``, in ``Authorization: Bearer`` or
    ``X-Halfmask-Token``; a page of another site, or of none, is refused in any case.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str] = ()) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {name.lower() for name in (*LOCAL, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers[name] = value
                message = {**message, "headers": headers.raw}
            await send(message)

        refused = self._refused(Headers(scope=scope), scope["path"])
        if refused is None:
            await self._app(scope, receive, with_headers)
        else:
            answer = JSONResponse(refused.answer(), refused.status, dict(refused.headers))
            await answer(scope, receive, with_headers)

    def _refused(self, headers: Headers, path: str) -> Refused | None:
        if len(headers.getlist("host")) != 1 or self._host("//" + headers["host"]) not in self._hosts:
            return Refused(
                421, "foreign_host", "the server does not go by that name; its owner can add it: --allow-host NAME"
            )
        origins = headers.getlist("origin")
        if any(not o.startswith(("http://", "https://")) or self._host(o) not in self._hosts for o in origins):
            return Refused(403, "foreign_origin", "a page of another site asked; only this server's own page may")
        if not path.startswith("/api/"):
            return None
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Refused(403, "foreign_origin", "a page of another site asked; only this server's own page may")
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = headers.get("x-halfmask-token") or (bearer.strip() if kind.lower() == "bearer" else "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token):
            return Refused(
                401,
                "no_token",
                "the token is missing or wrong; open the address that halfmask serve printed, with all behind its #",
                {"WWW-Authenticate": "Bearer"},
            )
        return None

    @staticmethod
    def _host(address: str) -> str | None:
        try:
            parts = urlsplit(address)
            odd = parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment
            return None if odd or (parts.port == 0) else parts.hostname
        except ValueError:
            return None
