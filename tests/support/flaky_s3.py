"""A proxy before MinIO that misbehaves the way object stores and networks do."""

import http.client
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
HANG_SECONDS = 6


class FlakyS3:
    """Forward requests to an endpoint; `misbehaves(method, path, number)` chooses a fault or none.

    Faults: `500`, `503`, `reset-before` (nothing reaches the store), `reset-after` (the store did
    it, the client never learns), `hang`, `truncate` (half the body), `wrong-etag`.
    """

    def __init__(self, endpoint: str, misbehaves: Callable[[str, str, int], str | None]) -> None:
        """Start on a free port; use it as a context manager to stop."""
        self.target = endpoint.removeprefix("http://")
        self.misbehaves = misbehaves
        self.count = 0
        self.faults = 0
        self.lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def handle_any(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "FlakyS3":
        """Serve in a thread."""
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Do one request, well or badly."""
        with self.lock:
            self.count += 1
            fault = self.misbehaves(request.command, request.path, self.count)
            self.faults += fault is not None
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if fault == "hang":
            time.sleep(HANG_SECONDS)
        if fault in ("hang", "reset-before"):
            self.reset(request)
        elif fault in ("500", "503"):
            self.answer(request, int(fault), {"Content-Type": "application/xml"}, SLOW_DOWN)
        else:
            status, headers, answer = self.forward(request, body)
            if fault == "reset-after":
                self.reset(request)
                return
            if fault == "wrong-etag" and "ETag" in headers:
                headers["ETag"] = '"00000000000000000000000000000000"'
            self.answer(request, status, headers, answer, cut=fault == "truncate")

    def forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict, bytes]:
        """Pass the request on with its own Host header, which the signature covers."""
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.request(request.command, request.path, body, dict(request.headers))
            response = connection.getresponse()
            skip = ("transfer-encoding", "connection")
            headers = {k: v for k, v in response.getheaders() if k.lower() not in skip}
            return response.status, headers, response.read()
        finally:
            connection.close()

    def answer(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict,
        body: bytes,
        cut: bool = False,
    ) -> None:
        """Send an answer, or half of one."""
        request.send_response(status)
        length = headers.get("Content-Length", len(body))
        headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body[: len(body) // 2] if cut and body else body)
        if cut:
            self.reset(request)

    @staticmethod
    def reset(request: BaseHTTPRequestHandler) -> None:
        """Drop the connection."""
        request.close_connection = True
        try:
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
