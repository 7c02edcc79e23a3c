"""A server of weight versions over real HTTP that counts what it sends and misbehaves on demand."""

import hashlib
import json
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from ralo_core import WeightFile, WeightVersion
from ralo_core.client import Backoff, Client
from ralo_core.structuring import unstructure


class PartServer:
    """Serves what was published. `fault` is asked before a body of a part goes out and may return

    - ``("cut", n)``: the connection ends after n bytes, ``("reset", n)``: with a reset,
    - ``("wrong",)``: one byte is another, ``("status", code)``: a refusal,
    - ``("whole",)``: the range is ignored, ``("redirect", url)``: somewhere else.
    """

    def __init__(self):
        self.versions, self.content, self.gone = {}, {}, set()
        self.sent, self.requests, self.headers = Counter(), [], []
        self.fault = lambda sha256, first, last: None
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def publish(self, number, **content):
        files = tuple(
            WeightFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in content.items()
        )
        self.content.update({file.sha256: content[file.name] for file in files})
        digest = hashlib.sha256(repr(files).encode()).hexdigest()
        version = WeightVersion(number=number, parent=None, sha256=digest, files=files, created=0.0)
        self.versions[number] = version
        return version

    def client(self, **options):
        backoff = Backoff(first=0.01, cap=0.05)
        return Client(self.url, "w", token="secret", backoff=backoff, **options)  # noqa: S106

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: PartServer

    def do_GET(self):  # noqa: N802
        url = urlsplit(self.path)
        query = {name: int(float(values[0])) for name, values in parse_qs(url.query).items()}
        if url.path == "/weights/version":
            newest = max(self.owner.versions)
            self._json(newest if newest > query["after"] else None)
        elif url.path == "/weights/manifest":
            self._json(query["version"])
        else:
            self._part(url.path.rpartition("/")[2])

    def _json(self, number):
        body = b""
        if number is not None:
            body = json.dumps(unstructure(self.owner.versions[number])).encode()
        self._answer(200 if body else 204, {"Content-Length": len(body)})
        self.wfile.write(body)

    def _part(self, sha256):
        owner, asked = self.owner, self.headers.get("Range")
        body = owner.content.get(sha256)
        first, last = 0, len(body or b"") - 1
        if asked:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
        with owner.lock:
            owner.requests.append((sha256, asked))
            owner.headers.append(dict(self.headers))
            kind, *value = owner.fault(sha256, first, last) or ("",)
            if sha256 in owner.gone:
                body = None
        if body is None or kind == "status":
            self._answer(value[0] if kind == "status" else 404, {"Content-Length": 0})
        elif kind == "redirect":
            self._answer(307, {"Content-Length": 0, "Location": f"{value[0]}{self.path}"})
        else:
            self._body(sha256, body, asked and kind != "whole", (first, last), kind, value)

    def _body(self, sha256, body, ranged, bounds, kind, value):
        first, last = bounds if ranged else (0, len(body) - 1)
        data = bytearray(body[first : last + 1])
        if kind == "wrong" and data:
            data[len(data) // 2] ^= 1
        headers = {"Content-Length": len(data)}
        if ranged:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        self._answer(206 if ranged else 200, headers)
        if kind in ("cut", "reset"):
            data = data[: value[0]]
        with self.owner.lock:  # before the client can know that it has them
            self.owner.sent[sha256] += len(data)
        self.wfile.write(data)
        if kind in ("cut", "reset"):
            self._end(kind)

    def _end(self, kind):
        self.close_connection = True
        if kind == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()

    def _answer(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""
