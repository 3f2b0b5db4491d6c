"""A server that is not the provider: it notes what it is sent, and redirects or refuses on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Elsewhere:
    """What the server saw, and where it is."""

    def __init__(self) -> None:
        self.authorizations: list[str | None] = []
        self.methods: list[str] = []
        self.url = ""


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """`/to?URL` redirects there with 307, `/see?URL` with 303, `/refuse` answers a bare 401, anything else 200."""
    seen = Elsewhere()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            seen.methods.append(self.command)
            seen.authorizations.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            path, _, where = self.path.partition("?")
            self.send_response({"/to": 307, "/see": 303, "/refuse": 401}.get(path, 200))
            if where:
                self.send_header("Location", where)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
