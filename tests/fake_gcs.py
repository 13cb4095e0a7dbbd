"""A stand-in for Google Cloud Storage on 127.0.0.1: its JSON API over objects in memory, as far as
gcsfs, TensorStore and google-cloud-storage ask for it.

`FakeGcs.environment()` sends all three to it. What it is asked is kept in `requests`, `refuse`
makes it say no. Uploads become objects when they are whole, as the real ones do.
"""

import base64
import contextlib
import email
import hashlib
import http.server
import itertools
import json
import sys
import threading
import urllib.parse
from collections.abc import Callable

import google_crc32c
import pytest

from attngan_jax import storage

PAGE = 100  # objects of a listing's page


class FakeGcs:
    """A server with empty buckets, running until `close`.

    Attributes:
      objects: content by "bucket/name".
      requests: (method, path with query) of all that was asked.
      refuse: (method, "bucket/name" or "bucket") -> an HTTP status to answer with, or None. A POST
        is an upload.
    """

    def __init__(self, *buckets: str):
        self.buckets = set(buckets)
        self.objects: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse: Callable[[str, str], int | None] = lambda method, key: None
        self.uploads: dict[str, tuple[str, dict, bytearray]] = {}
        self.lock = threading.RLock()
        self._counter = itertools.count(1_700_000_000_000_000)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.gcs = self
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def environment(self) -> dict[str, str]:
        """The variables that send the libraries here, without credentials."""
        return {
            "STORAGE_EMULATOR_HOST": self.address,
            "TENSORSTORE_GCS_HTTP_URL": self.address,
            "NO_GCE_CHECK": "true",
        }

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()

    def put(self, key: str, content: bytes) -> None:
        """Makes an object, or a new generation of it."""
        with self.lock:
            self.objects[key] = bytes(content)
            self.generations[key] = next(self._counter)

    def delete(self, key: str) -> None:
        """Removes an object."""
        with self.lock:
            del self.objects[key], self.generations[key]

    def names(self, prefix: str) -> list[str]:
        """The names of objects that begin so, sorted."""
        with self.lock:
            return sorted(key for key in self.objects if key.startswith(prefix))

    def resource(self, key: str) -> dict:
        """What the API says of an object."""
        bucket, _, name = key.partition("/")
        content, generation = self.objects[key], str(self.generations[key])
        return {
            "kind": "storage#object",
            "id": f"{key}/{generation}",
            "bucket": bucket,
            "name": name,
            "size": str(len(content)),
            "generation": generation,
            "metageneration": "1",
            "etag": generation,
            "storageClass": "STANDARD",
            "contentType": "application/octet-stream",
            "timeCreated": "2026-01-01T00:00:00.000000Z",
            "updated": "2026-01-01T00:00:00.000000Z",
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "crc32c": base64.b64encode(google_crc32c.Checksum(content).digest()).decode(),
        }


def forget_clients() -> None:
    """Lets this process's libraries ask the environment again where Cloud Storage is."""
    import gcsfs
    from etils.epath import backend

    storage._client.cache_clear()
    storage._ask_bucket.cache_clear()
    gcsfs.GCSFileSystem.clear_instance_cache()
    backend.fsspec_backend._get_filesystem.cache_clear()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a client that has heard enough
            super().handle_error(request, client_address)


class _Refused(Exception):
    pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _answer(self) -> None:
        gcs = self.server.gcs
        length = int(self.headers.get("Content-Length") or 0)
        body = (
            self._chunks()
            if "chunked" in self.headers.get("Transfer-Encoding", "")
            else self.rfile.read(length)
        )
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        with gcs.lock:
            gcs.requests.append((self.command, self.path))
            try:
                status, headers, content = self._route(gcs, parts, query, body)
            except _Refused as refused:
                status, message = refused.args
                headers = {}
                content = json.dumps({"error": {"code": status, "message": message}}).encode()
                if status in (204, 304):
                    content = b""
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json; charset=UTF-8"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _answer

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self, gcs, parts, query, body):
        if parts[0] == "upload":
            return self._upload(gcs, parts[4], query, body)
        if parts[0] == "download":
            parts, query = parts[1:], query | {"alt": "media"}
        if parts[:3] != ["storage", "v1", "b"] or len(parts) < 4:
            raise _Refused(404, f"nothing at {self.path}")
        bucket = parts[3]
        self._may(gcs, bucket)
        if len(parts) == 4:
            return _json(
                {
                    "kind": "storage#bucket",
                    "id": bucket,
                    "name": bucket,
                    "location": "US",
                    "storageClass": "STANDARD",
                }
            )
        if len(parts) == 5:
            return self._list(gcs, bucket, query)
        key = f"{bucket}/{parts[5]}"
        if len(parts) > 6:  # b/BUCKET/o/NAME/rewriteTo/b/BUCKET/o/NAME
            return self._copy(gcs, key, f"{parts[8]}/{parts[10]}", query, parts[6])
        self._may(gcs, key)
        if (
            key not in gcs.objects
            or int(query.get("generation", gcs.generations[key])) != (gcs.generations[key])
        ):  # old generations are gone, where none are kept
            raise _Refused(404, f"No such object: {key}")
        _check_generation(gcs, key, query)
        if self.command == "DELETE":
            gcs.delete(key)
            return 204, {}, b""
        if query.get("alt") == "media":
            return self._media(gcs, key)
        return _json(gcs.resource(key))

    def _may(self, gcs, key):
        if key.partition("/")[0] not in gcs.buckets:
            raise _Refused(404, "The specified bucket does not exist.")
        status = gcs.refuse(self.command, key)
        if status:
            raise _Refused(status, "The caller does not have access to it.")

    def _list(self, gcs, bucket, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        start = query.get("startOffset", "")
        items, prefixes = [], []
        for key in gcs.names(f"{bucket}/{prefix}"):
            name = key.partition("/")[2]
            if name < start or ("endOffset" in query and name >= query["endOffset"]):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folder = prefix + rest[: rest.index(delimiter) + 1]
                if folder not in prefixes:
                    prefixes.append(folder)
            else:
                items.append(gcs.resource(key))
        rows = [(item["name"], item) for item in items] + [(name, None) for name in prefixes]
        rows.sort(key=lambda row: row[0])
        first = int(query.get("pageToken") or 0)
        last = first + min(int(query.get("maxResults") or PAGE), PAGE)
        answer = {
            "kind": "storage#objects",
            "items": [item for _, item in rows[first:last] if item],
            "prefixes": [name for name, item in rows[first:last] if not item],
        }
        if last < len(rows):
            answer["nextPageToken"] = str(last)
        return _json({name: value for name, value in answer.items() if value})

    def _media(self, gcs, key):
        content, resource = gcs.objects[key], gcs.resource(key)
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": resource["etag"],
            "x-goog-generation": resource["generation"],
            "x-goog-metageneration": "1",
            "x-goog-stored-content-length": str(len(content)),
            "x-goog-hash": f"crc32c={resource['crc32c']},md5={resource['md5Hash']}",
        }
        wanted = self.headers.get("Range")
        if not wanted:
            return 200, headers, content
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        first = int(first) if first else len(content) - int(last)
        last = min(int(last) if last and wanted[6] != "-" else len(content) - 1, len(content) - 1)
        if first > last:
            raise _Refused(416, "The requested range cannot be satisfied.")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return 206, headers, content[first : last + 1]

    def _copy(self, gcs, source, target, query, verb):
        if source not in gcs.objects:
            raise _Refused(404, f"No such object: {source}")
        _check_generation(gcs, target, query)
        gcs.put(target, gcs.objects[source])
        resource = gcs.resource(target)
        if verb == "copyTo":
            return _json(resource)
        return _json(
            {
                "kind": "storage#rewriteResponse",
                "done": True,
                "resource": resource,
                "totalBytesRewritten": resource["size"],
                "objectSize": resource["size"],
            }
        )

    def _upload(self, gcs, bucket, query, body):
        if "upload_id" in query:
            return self._continue(gcs, query["upload_id"], body)
        kind = query.get("uploadType")
        if kind == "multipart":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            described, content = email.message_from_bytes(head + body).get_payload()
            name = json.loads(described.get_payload())["name"]
            mark = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
            boundary = email.message_from_bytes(head).get_boundary().encode()
            content = body.split(mark, 2)[2].rpartition(b"--" + boundary + b"--")[0]
            content = content.removesuffix(b"\n").removesuffix(b"\r" if mark[0] == 13 else b"")
        else:
            name = query.get("name") or json.loads(body)["name"]
            content = body
        key = f"{bucket}/{name}"
        self._may(gcs, key)
        _check_generation(gcs, key, query)
        if kind == "resumable":
            upload = str(len(gcs.uploads))
            gcs.uploads[upload] = key, query, bytearray()
            address = (
                f"{gcs.address}/upload/storage/v1/b/{bucket}/o?uploadType=resumable"
                f"&upload_id={upload}"
            )
            return 200, {"Location": address}, b""
        gcs.put(key, content)
        return _json(gcs.resource(key))

    def _continue(self, gcs, upload, body):
        if self.command == "DELETE":
            del gcs.uploads[upload]
            raise _Refused(499, "cancelled")
        key, query, content = gcs.uploads[upload]
        place, _, total = (
            self.headers.get("Content-Range", "bytes 0-/*").removeprefix("bytes ").partition("/")
        )
        if place != "*":
            del content[int(place.partition("-")[0]) :]
            content += body
        if total == "*" or len(content) < int(total):
            end = {"Range": f"bytes=0-{len(content) - 1}"} if content else {}
            return 308, end, b""
        _check_generation(gcs, key, query)
        gcs.put(key, content)
        return _json(gcs.resource(key))


def _json(value):
    return 200, {}, json.dumps(value).encode()


def _check_generation(gcs, key, query):
    """The preconditions of a request; 0 is an object that isn't there."""
    now = gcs.generations.get(key, 0)
    if "ifGenerationMatch" in query and int(query["ifGenerationMatch"]) != now:
        raise _Refused(412, "At least one of the pre-conditions you specified did not hold.")
    if "ifGenerationNotMatch" in query and int(query["ifGenerationNotMatch"]) == now:
        raise _Refused(304, "not modified")


@contextlib.contextmanager
def serving(bucket: str):
    """A `FakeGcs` that `gs://` of this process, and of those that it starts, leads to."""
    server = FakeGcs(bucket)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        forget_clients()
        yield server
    forget_clients()
    server.close()
