"""A file server on this machine that can do what servers do wrong: no ranges, cut connections, other bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class FileServer:
    """Serves ``files`` (path to bytes); ``asked`` holds the Range header of each request, in order."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str | None] = []
        self.ranges = True
        self.cut_after: list[int] = []  # bytes sent before the connection of the n-th request breaks
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one GET."""
        path, asked = unquote(request.path), request.headers.get("Range")
        self.asked.append(asked)
        if path not in self.files:
            request.send_error(404)
            return
        data, start = self.files[path], 0
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                request.send_error(416)
                return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        body = data[start:]
        request.wfile.write(body[: self.cut_after.pop(0)] if self.cut_after else body)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    """Serve ``{"/name": bytes}`` at ``server.url`` on a free port."""
    server = FileServer(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
