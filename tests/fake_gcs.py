"""A fake Google Cloud Storage on 127.0.0.1: its JSON API over objects in memory, as far as this
package uses it through gcsfs, TensorStore and google-cloud-storage. The rest is answered with 404.
"""

import base64
import contextlib
import email
import hashlib
import http.server
import itertools
import json
import os
import sys
import threading
import urllib.parse
from collections.abc import Callable
from unittest import mock

import google_crc32c

from attngan_jax import storage

PAGE = 100  # objects on a page of a listing


class FakeGcs(http.server.ThreadingHTTPServer):
    """A server with empty buckets, running until `close`.

    Attributes:
      objects: content by "bucket/name".
      requests: (method, path with query) of every request.
      received: bytes of all requests' bodies.
      refuse: (method, "bucket/name" or "bucket") -> an HTTP status to refuse with, or None. An
        upload is a POST.
    """

    daemon_threads = True

    def __init__(self, *buckets: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets = set(buckets)
        self.objects: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.received = 0
        self.refuse: Callable[[str, str], int | None] = lambda method, key: None
        self.uploads: dict[str, tuple[str, dict[str, str]]] = {}  # begun: key and query
        self.lock = threading.RLock()
        self.counter = itertools.count(1_700_000_000_000_000)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Keeps quiet about a client that has closed its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def put(self, key: str, content: bytes) -> None:
        """Makes an object, or a new generation of it."""
        with self.lock:
            self.objects[key] = bytes(content)
            self.generations[key] = next(self.counter)

    def delete(self, key: str) -> None:
        with self.lock:
            del self.objects[key], self.generations[key]

    def names(self, prefix: str) -> list[str]:
        """The names of objects that begin so, sorted."""
        with self.lock:
            return sorted(key for key in self.objects if key.startswith(prefix))

    def resource(self, key: str) -> dict[str, str]:
        """The API's description of an object."""
        bucket, _, name = key.partition("/")
        content, generation = self.objects[key], str(self.generations[key])
        digests = {"md5Hash": hashlib.md5(content), "crc32c": google_crc32c.Checksum(content)}
        return {
            "bucket": bucket,
            "name": name,
            "size": str(len(content)),
            "contentType": "application/octet-stream",
            **dict.fromkeys(("generation", "etag"), generation),
            **dict.fromkeys(("timeCreated", "updated"), "2026-01-01T00:00:00.000000Z"),
            **{name: base64.b64encode(x.digest()).decode() for name, x in digests.items()},
        }


class _Refused(Exception):
    """A status and a message."""


Response = tuple[int, dict[str, str], bytes]  # status, headers, content


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeGcs

    def log_message(self, *_):
        pass

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        with self.server.lock:
            self.server.requests.append((self.command, self.path))
            self.server.received += len(body)
            try:
                status, headers, content = self._route(parts, query, body)
            except _Refused as refused:
                status, message = refused.args
                error = {"error": {"code": status, "message": message}}
                headers, content = {}, b"" if status == 304 else json.dumps(error).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json"} | headers
        for name, value in (headers | {"Content-Length": len(content)}).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _respond

    def _route(self, parts: list[str], query: dict[str, str], body: bytes) -> Response:
        gcs = self.server
        if parts[0] == "upload":
            return self._upload(parts[4], query, body)
        if parts[0] == "download":
            parts, query = parts[1:], query | {"alt": "media"}
        if parts[:3] != ["storage", "v1", "b"] or not 4 <= len(parts) <= 7:
            raise _Refused(404, f"nothing at {self.path}")
        bucket = parts[3]
        self._check_access(bucket)
        if parts[6:] == ["compose"]:
            return self._compose(bucket, parts[5], query, json.loads(body))
        if len(parts) == 4:
            return _json({"kind": "storage#bucket", "id": bucket, "name": bucket})
        if len(parts) == 5:
            return self._list(bucket, query)
        key = f"{bucket}/{parts[5]}"
        self._check_access(key)
        newest = gcs.generations.get(key)
        if newest is None or int(query.get("generation", newest)) != newest:  # no older ones kept
            raise _Refused(404, f"No such object: {key}")
        self._check_generation(key, query)
        if self.command == "DELETE":
            gcs.delete(key)
            return 204, {}, b""
        return self._media(key) if query.get("alt") == "media" else _json(gcs.resource(key))

    def _check_access(self, key: str) -> None:
        if key.partition("/")[0] not in self.server.buckets:
            raise _Refused(404, "The specified bucket does not exist.")
        if status := self.server.refuse(self.command, key):
            raise _Refused(status, "The caller does not have access to it.")

    def _check_generation(self, key: str, query: dict[str, str]) -> None:
        """The preconditions of a request; generation 0 is an object that does not exist."""
        now = str(self.server.generations.get(key, 0))
        if query.get("ifGenerationMatch", now) != now:
            raise _Refused(412, "At least one of the pre-conditions you specified did not hold.")
        if query.get("ifGenerationNotMatch") == now:
            raise _Refused(304, "not modified")

    def _list(self, bucket: str, query: dict[str, str]) -> Response:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        rows: dict[str, dict | None] = {}  # by name: an object, or None for a folder
        for key in self.server.names(f"{bucket}/{prefix}"):
            name = key.partition("/")[2]
            if not query.get("startOffset", "") <= name < query.get("endOffset", "\U0010ffff"):
                continue
            first, found, _ = name[len(prefix) :].partition(delimiter or "\0")
            if found:
                rows[prefix + first + found] = None
            else:
                rows[name] = self.server.resource(key)
        start = int(query.get("pageToken") or 0)
        end = start + min(int(query.get("maxResults") or PAGE), PAGE)
        page = sorted(rows)[start:end]
        listing = {
            "kind": "storage#objects",
            "items": [rows[name] for name in page if rows[name]],
            "prefixes": [name for name in page if not rows[name]],
            "nextPageToken": str(end) if end < len(rows) else "",
        }
        return _json({name: value for name, value in listing.items() if value})

    def _compose(self, bucket: str, name: str, query: dict[str, str], request: dict) -> Response:
        gcs, key = self.server, f"{bucket}/{name}"
        self._check_access(key)
        self._check_generation(key, query)
        sources = [f"{bucket}/{source['name']}" for source in request["sourceObjects"]]
        if missing := [source for source in sources if source not in gcs.objects]:
            raise _Refused(404, f"No such object: {missing[0]}")
        gcs.put(key, b"".join(gcs.objects[source] for source in sources))
        return _json(gcs.resource(key))

    def _media(self, key: str) -> Response:
        content, resource = self.server.objects[key], self.server.resource(key)
        hashes = f"crc32c={resource['crc32c']},md5={resource['md5Hash']}"
        headers = {"x-goog-generation": resource["generation"], "x-goog-hash": hashes}
        headers["Content-Type"] = resource["contentType"]
        if "Range" not in self.headers:
            return 200, headers, content
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        start = int(first) if first else len(content) - int(last)
        end = min(int(last) + 1 if first and last else len(content), len(content))
        if start >= end:
            raise _Refused(416, "The requested range cannot be satisfied.")
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return 206, headers, content[start:end]

    def _upload(self, bucket: str, query: dict[str, str], content: bytes) -> Response:
        """An upload in one request, or in two, of which the first announces the second."""
        kind, name = query.get("uploadType"), query.get("name")
        if "upload_id" in query:
            key, query = self.server.uploads[query["upload_id"]]
            if not self.headers["Content-Range"].endswith(f"/{len(content)}"):
                raise _Refused(501, "More than one part.")
        else:
            if kind == "multipart":
                head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
                described, uploaded = email.message_from_bytes(head + content).get_payload()
                name = json.loads(described.get_payload())["name"]
                content = uploaded.get_payload(decode=True)
            key = f"{bucket}/{name or json.loads(content)['name']}"
            self._check_access(key)
        self._check_generation(key, query)
        if kind == "resumable":
            upload = str(next(self.server.counter))
            self.server.uploads[upload] = key, query
            path = f"/upload/storage/v1/b/{bucket}/o?upload_id={upload}"
            return 200, {"Location": self.server.address + path}, b""
        self.server.put(key, content)
        return _json(self.server.resource(key))


def _json(value: dict) -> Response:
    return 200, {}, json.dumps(value).encode()


@contextlib.contextmanager
def serving(bucket: str):
    """A `FakeGcs` that `gs://` of this process, and of those that it starts, leads to."""
    server = FakeGcs(bucket)
    addresses = dict.fromkeys(("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL"), server.address)
    with mock.patch.dict(os.environ, addresses | {"NO_GCE_CHECK": "true"}):
        _forget_clients()
        yield server
    _forget_clients()
    server.close()


def _forget_clients() -> None:
    """Lets this process's libraries read from the environment again where Cloud Storage is."""
    import gcsfs
    from etils.epath import backend

    storage._client.cache_clear()
    storage._check_bucket.cache_clear()
    gcsfs.GCSFileSystem.clear_instance_cache()
    backend.fsspec_backend._get_filesystem.cache_clear()
