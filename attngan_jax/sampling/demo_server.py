"""Serves the demo by the standard library: one page, and the images that its visitors ask for.

`/` is the page, `/generate?SETTINGS` the images as HTML, `/images.png?SETTINGS` as one PNG. Errors
come as JSON with one line for people.
"""

import contextlib
import http.server
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus

from absl import logging

from attngan_jax import storage
from attngan_jax.errors import UserError
from attngan_jax.sampling.demo_images import Demo, parse_settings

MAX_ADDRESS = 8192  # characters of a request's path and query
MAX_WAITING, MAX_WAITING_EACH = 8, 2  # requests in work, of all visitors and of each
MAX_CONNECTIONS = 64
SECONDS_TO_SEND = 20.0  # a request's, and as many to take the answer; then the visitor is let go


class Refused(Exception):
    """A request that is not served now; the status says why to programs, the text to people."""

    def __init__(self, status: HTTPStatus, text: str):
        super().__init__(text)
        self.status = status


class Queue:
    """One generation at a time; a few requests wait, few of each visitor."""

    def __init__(self):
        self._visitors: list[str] = []  # of every request that waits or is in work
        self._lock, self._turn = threading.Lock(), threading.Lock()

    @contextlib.contextmanager
    def turn(self, visitor: str) -> Iterator[None]:
        """Waits for this request's turn; `Refused` if too many wait already."""
        with self._lock:
            if self._visitors.count(visitor) >= MAX_WAITING_EACH:
                text = "your last images are still being made: try again in a moment"
                raise Refused(HTTPStatus.TOO_MANY_REQUESTS, text)
            if len(self._visitors) >= MAX_WAITING:
                text = "many people are waiting for images: try again in a minute"
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, text)
            self._visitors.append(visitor)
        try:
            with self._turn:
                yield
        finally:
            with self._lock:
                self._visitors.remove(visitor)


class Server(http.server.ThreadingHTTPServer):
    """Serves `demo`; a visitor beyond `MAX_CONNECTIONS` is turned away at once."""

    daemon_threads = True
    demo: Demo  # to be set before `serve_forever`

    def __init__(self, host: str, port: int):
        """Listens, or raises `UserError`."""
        self.queue = Queue()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._connections = threading.Semaphore(MAX_CONNECTIONS)
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(
                f"cannot listen at {host}, port {port} ({why}): choose another --port, or --host"
            ) from error

    @property
    def url(self) -> str:
        """The page's address."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}/" if ":" in str(host) else f"http://{host!s}:{port}/"

    def process_request(self, request, client_address) -> None:
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()


class Request(io.RawIOBase):
    """What a visitor sends, who has `SECONDS_TO_SEND` for all of it, however small the parts."""

    def __init__(self, connection: socket.socket):
        self._connection, self._end = connection, time.monotonic() + SECONDS_TO_SEND

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._connection.settimeout(max(self._end - time.monotonic(), 1e-3))
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(SECONDS_TO_SEND)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request; requests have no body, and other methods than GET get 501."""

    server: Server

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(Request(self.connection))

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        try:
            self._answer(path, query)
        except UserError as error:
            self._send_error_line(HTTPStatus.BAD_REQUEST, str(error))
        except Refused as error:
            self._send_error_line(error.status, str(error))
        except (ConnectionError, TimeoutError):  # the visitor has left
            self.close_connection = True
        except Exception:
            logging.exception("a request failed")
            self._send_error_line(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed: its log says why"
            )

    def _answer(self, path: str, query: str) -> None:
        demo = self.server.demo
        if len(self.path) > MAX_ADDRESS:
            raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "the link is too long: shorten it")
        if path == "/":
            self._send(demo.page.encode(), "text/html; charset=utf-8")
            return
        if path not in ("/generate", "/images.png"):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page: go to /")
        if self.headers.get("Sec-Fetch-Site") == "cross-site":
            text = "other sites may not ask for images: open the page itself"
            raise Refused(HTTPStatus.FORBIDDEN, text)
        settings = parse_settings(query)
        with self.server.queue.turn(self.client_address[0]):
            made = demo.results(settings) if path == "/generate" else demo.grid(settings)
        if isinstance(made, str):
            self._send(json.dumps({"html": made}).encode(), "application/json")
        else:
            name = f'attachment; filename="images_seed_{settings.seed}.png"'
            self._send(made, "image/png", {"Content-Disposition": name})

    def _send(self, body: bytes, kind: str, more: dict | None = None, status: int = 200) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": len(body), "Cache-Control": "no-store"}
        for name, value in (headers | {"X-Content-Type-Options": "nosniff"} | (more or {})).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def _send_error_line(self, status: HTTPStatus, text: str) -> None:
        busy = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
        body = json.dumps({"error": text}).encode()
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._send(body, "application/json", {"Retry-After": "10"} if busy else {}, status)

    def log_message(self, format: str, *args) -> None:
        """Nothing: captions are their visitors' own."""


def serve(path_or_name: storage.PathLike, host: str, port: int) -> None:
    """Serves the page of a model until Ctrl-C, and says where."""
    logging.set_verbosity(logging.ERROR)  # warnings repeat what visitors type
    with Server(host, port) as server:
        server.demo = Demo(path_or_name)
        print(f"Open {server.url} in a browser; Ctrl-C ends.", flush=True)
        # Ctrl-C in the thread that accepts a request would close it while another answers it.
        accepting = threading.Thread(target=server.serve_forever, daemon=True)
        with contextlib.suppress(KeyboardInterrupt):
            accepting.start()  # a request may be answered before this returns
            accepting.join()
        if accepting.ident:  # it has started; is_alive() is wrong after an interrupted join()
            server.shutdown()
