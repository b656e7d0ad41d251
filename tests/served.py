"""A server for tests: in memory, or one that listens."""

from __future__ import annotations

import io
import socket
import threading
import time

import numpy as np
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from halfmask.serving.app import create
from halfmask.serving.limits import Limits

TOKEN = "0123456789abcdef" * 4
BASE = "http://127.0.0.1:8300"


def encoded(pixels: np.ndarray, format: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, format, **({"quality": 92} if format == "JPEG" else {}))
    return stream.getvalue()


def client_of(limits: Limits | None = None, **more: object) -> TestClient:
    return TestClient(
        create(TOKEN, ("photos.example",), limits, **more), base_url=BASE, headers={"X-Halfmask-Token": TOKEN}
    )


class Running:
    """A server that listens, in a thread."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.app = create(TOKEN, (), limits)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(self.app, access_log=False, log_level="warning", http="h11", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Running:
        self._thread.start()
        until = time.monotonic() + 30
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.01)
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def raw(self, request: bytes, *, pause: float = 0.0, rest: bytes = b"", close: bool = False) -> bytes:
        """What the server answers to bytes on a line."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as line:
            line.sendall(request)
            if close:
                line.shutdown(socket.SHUT_WR)
            if pause:
                time.sleep(pause)
            answer = b""
            try:
                if rest:
                    line.sendall(rest)
                while piece := line.recv(65536):
                    answer += piece
            except (BrokenPipeError, ConnectionResetError):
                pass
            return answer
