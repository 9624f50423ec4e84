"""A page on this machine, for a browser on this machine."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    """Serves one page at `/`, to those who name this machine: no site can have its own name stand for it."""

    daemon_threads = True
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0]
        if self.path != "/" or host not in ("localhost", "127.0.0.1"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: whoever serves a page knows that it is read."""


def serve(html: str, *, port: int = 0, open_browser: bool = True, ready: Callable[[str], object] = print) -> None:
    """Serve a page at `port` (0: any that is free) of this machine alone, until interrupted.

    `ready` is called with its address; then a browser is opened.

    Raises:
        OSError: the port is taken.
    """
    with _Server(("127.0.0.1", port), _Handler) as server:
        server.body = html.encode()
        address = f"http://127.0.0.1:{server.server_port}/"
        ready(address)
        if open_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
