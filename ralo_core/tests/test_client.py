"""The client's patience, on a real HTTP server that fails as told."""

import hashlib
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest

from ralo_core.client import Backoff, Client, api
from ralo_core.errors import RunOver, ServerError
from ralo_core.testing import random_tree

FAST = Backoff(first=0.001, cap=0.01, deadline=5.0)


class Server:
    """Answers with the scripted (status, headers, body), the last one for ever."""

    def __init__(self, port=0):
        self.script, self.seen = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append((self.command, self.path, dict(self.headers), body))
                script = outer.script
                status, headers, reply = script.pop(0) if len(script) > 1 else script[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = answer  # noqa: N815 (the base class wants these names)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, *answers):
        self.script = [
            (status, headers, json.dumps(body).encode() if body is not None else b"")
            for status, headers, body in answers
        ]

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


def test_what_retrying_can_mend_is_retried_and_said_once(server, caplog):
    busy = (503, {"Retry-After": "0.05"}, {"title": "busy"})
    server.reply(busy, busy, (429, {}, None), (500, {}, None), (200, {}, {"status": "ok"}))
    with caplog.at_level(logging.INFO):
        assert Client(server.url, backoff=FAST).health() == {"status": "ok"}
    assert len(server.seen) == 5
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "busy" in caplog.records[0].message


def test_a_server_that_comes_up_later_is_waited_for():
    first = Server()
    port = first.http.server_address[1]
    first.close()
    client = Client(f"http://127.0.0.1:{port}", backoff=Backoff(first=0.02, cap=0.05, deadline=10))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.health()))
    thread.start()
    second = Server(port)
    second.reply((200, {}, {"status": "ok"}))
    thread.join(10)
    second.close()
    assert answers == [{"status": "ok"}]


def test_refusals_carry_the_problem_document(server):
    server.reply((422, {}, {"title": "invalid request", "detail": "tensor 'x' is missing"}))
    with pytest.raises(ServerError, match=r"invalid request \(HTTP 422\): tensor 'x' is missing"):
        Client(server.url, backoff=FAST).stats()
    server.reply((410, {}, {"title": "the run is over"}))
    with pytest.raises(RunOver, match="the run is over"):
        Client(server.url, backoff=FAST).problems(1)
    assert len(server.seen) == 2


def test_nothing_to_do_is_none(server):
    server.reply((204, {}, None))
    client = Client(server.url, backoff=FAST)
    assert client.problems(3, wait=0.0) is None
    assert client.batch(wait=0.0) is None
    assert client.version(after=4) is None
    assert client.eval_job() is None


def test_patience_has_a_deadline_and_ends_when_stopping():
    gone = Server()
    gone.close()
    impatient = Client(gone.url, backoff=Backoff(first=0.01, cap=0.01, deadline=0.1))
    with pytest.raises(ConnectionError, match=r"no answer within 0.1 s: GET .*/health"):
        impatient.health()
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(ConnectionError, match="stopped while waiting"):
        Client(gone.url, stopping=stopping).health()


def test_every_request_says_who_asks_and_a_tree_carries_its_idempotency_key(server):
    server.reply((200, {}, {"accepted": True}))
    tree = random_tree(1)
    Client(server.url, "sampler-7", backoff=FAST).upload_tree(tree)
    _, path, headers, body = server.seen[0]
    assert path == "/upload"
    assert headers["X-Ralo-Worker"] == "sampler-7"
    assert headers["Idempotency-Key"] == tree.lease_id
    assert len(body) > 0


def test_a_request_for_work_keeps_its_key_when_it_is_sent_again(server):
    busy, empty = (503, {"Retry-After": "0.05"}, None), (204, {}, None)
    client = Client(server.url, backoff=FAST)
    for ask in (lambda: client.problems(1, wait=0.0), lambda: client.batch(wait=0.0),
                client.eval_job):  # fmt: skip
        server.seen.clear()
        server.reply(busy, empty)
        ask()
        ask()
        first, again, another = (headers["Idempotency-Key"] for _, _, headers, _ in server.seen)
        assert first == again != another


def test_the_token_is_shown_with_every_request(server):
    server.reply((200, {}, {"status": "ok"}))
    client = Client(server.url, token="s3cret", backoff=FAST)
    client.health()
    client.upload_tree(random_tree(1))
    assert [headers["Authorization"] for _, _, headers, _ in server.seen] == ["Bearer s3cret"] * 2
    Client(server.url, backoff=FAST).health()
    assert "Authorization" not in server.seen[-1][2]


def test_a_gradient_is_sent_in_chunks_that_make_up_the_declared_body(server, monkeypatch):
    monkeypatch.setattr(api, "CHUNK_BYTES", 100)
    server.reply((200, {}, {"accepted": True, "received": 1}))
    Client(server.url, backoff=FAST).upload_gradient(
        {"w": np.arange(100, dtype=np.float32)}, upload_id="u", batch_id="b", base_version=3,
        weight=5.0, codec="none", metrics={"loss": 1.0},
    )  # fmt: skip
    *chunks, (_, path, _, declaration) = server.seen
    total = bytearray()
    for _, chunk_path, _, body in chunks:
        query = parse_qs(urlparse(chunk_path).query)
        assert int(query["offset"][0]) == len(total)
        total += body
    sent = json.loads(declaration)
    assert path == "/gradient/upload_finalize"
    assert (sent["size"], sent["base_version"], sent["weight"]) == (len(total), 3, 5.0)
    assert sent["sha256"] == hashlib.sha256(total).hexdigest()
    assert len(chunks) > 3
