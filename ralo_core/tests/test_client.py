"""The client's patience, on a real HTTP server that fails as told."""

import json
import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from blake3 import blake3
from patience import PATIENCE
from ports import port_to_keep

from ralo_core import wire
from ralo_core.client import Backoff, Client, WholeBody
from ralo_core.errors import RunOver, ServerError
from ralo_core.testing import random_tree

FAST = Backoff(first=0.001, cap=0.01, deadline=60.0)


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
    port = port_to_keep()
    client = Client(
        f"http://127.0.0.1:{port}", backoff=Backoff(first=0.02, cap=0.05, deadline=PATIENCE)
    )
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.health()))
    thread.start()
    second = Server(port)
    second.reply((200, {}, {"status": "ok"}))
    thread.join(PATIENCE)
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


def test_a_server_without_a_place_to_wait_in_is_asked_again_later(server):
    server.reply((204, {"Retry-After": "1"}, None))
    client, started = Client(server.url, backoff=FAST), time.monotonic()
    assert client.batch(wait=0.3) is None
    assert time.monotonic() - started >= 0.3, "but never later than it would have waited"
    assert client.batch(wait=0.0) is None


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


def test_the_heartbeat_names_the_leases_that_were_received_until_they_are_over(server):
    client = Client(server.url, "sampler-7", backoff=FAST)
    problem = {"id": "p", "prompt": "1+1", "answer": "2", "metadata": {}}
    leased = [{"problem": problem, "lease_id": lease, "expires": 9.0} for lease in ("a", "b")]
    server.reply(
        (200, {}, {"problems": leased}),
        (200, {}, {"state": "running", "over": ["a"]}),
        (200, {}, {"state": "running", "over": []}),
    )
    client.problems(2)
    client.heartbeat(version=0)
    client.heartbeat(version=1)
    beats = [json.loads(body) for _, path, _, body in server.seen if path == "/worker/heartbeat"]
    assert [beat["lease_ids"] for beat in beats] == [["a", "b"], ["b"]]
    assert beats[0]["worker_id"] == "sampler-7"


def test_work_that_was_refused_is_not_held_any_more(server):
    client, tree = Client(server.url, backoff=FAST), random_tree(1)
    problem = {"id": "p", "prompt": "1+1", "answer": "2", "metadata": {}}
    server.reply(
        (200, {}, {"problems": [{"problem": problem, "lease_id": tree.lease_id, "expires": 9.0}]}),
        (422, {}, {"type": "urn:ralo:invalid", "title": "invalid request"}),
        (200, {}, {"state": "running", "over": []}),
    )
    client.problems(1)
    with pytest.raises(ServerError):
        client.upload_tree(tree)
    client.heartbeat(version=0)
    assert json.loads(server.seen[-1][3])["lease_ids"] == []


GRADIENT = {"w": np.arange(100, dtype=np.float32), "empty": np.zeros(0, np.float32)}
DECLARED = {
    "upload_id": "u", "batch_id": "b", "base_version": 3, "weight": 5.0, "codec": "none",
    "metrics": {"loss": 1.0},
}  # fmt: skip


def send_gradient(client):
    body = WholeBody({"codec": "none"}, GRADIENT, client.transport)
    return client.send_gradient(body, **DECLARED)


def declared(chunk_bytes, missing):
    return {"declared": True, "chunk_bytes": chunk_bytes, "missing": missing}


def test_a_gradient_is_declared_and_then_sent_in_the_chunks_that_were_declared(server):
    server.reply((200, {}, {**declared(100, [0, 1, 2, 3, 4, 5]), "accepted": True}))
    client = Client(server.url, backoff=FAST)
    client.chunk_bytes = 100
    assert send_gradient(client)["accepted"]
    (_, declare, _, body), *chunks, (_, finalize, _, last) = server.seen
    assert (declare, finalize) == ("/gradient/declare", "/gradient/upload_finalize")
    sent = json.loads(body)
    total = bytearray(sent["size"])
    for _, path, headers, chunk in chunks:
        query = parse_qs(urlparse(path).query)
        index = int(query["index"][0])
        assert query["upload_id"] == ["u"]
        assert "Transfer-Encoding" not in headers
        assert blake3(chunk).hexdigest() == sent["chunk_digests"][index]
        total[index * 100 : index * 100 + len(chunk)] = chunk
    header, tensors = wire.unpack(bytes(total))
    assert header == {"codec": "none"}
    np.testing.assert_array_equal(tensors["w"], GRADIENT["w"])
    assert (sent["worker_id"], sent["base_version"], sent["weight"]) == ("cli", 3, 5.0)
    assert json.loads(last) == {"upload_id": "u"}


def test_another_chunk_size_is_taken_over_and_remembered(server):
    offer = {"declared": False, "chunk_bytes": 200, "missing": []}
    server.reply((200, {}, offer), (200, {}, {**declared(200, []), "accepted": True}))
    client = Client(server.url, backoff=FAST)
    send_gradient(client)
    sizes = [json.loads(body).get("chunk_bytes") for _, _, _, body in server.seen]
    assert sizes == [16 << 20, 200, None]
    send_gradient(client)
    assert json.loads(server.seen[3][3])["chunk_bytes"] == 200


def test_chunks_that_a_finalize_finds_missing_are_sent(server):
    early = (409, {}, {"type": "urn:ralo:chunks-missing", "title": "chunks missing"})
    chunk, done = (200, {}, {"received": 1}), (200, {}, {"accepted": True})
    server.reply((200, {}, declared(1000, [])), early, (200, {}, declared(1000, [0])), chunk, done)
    client = Client(server.url, backoff=FAST)
    client.chunk_bytes = 1000
    assert send_gradient(client) == {"accepted": True}
    paths = [urlparse(path).path.removeprefix("/gradient/") for _, path, _, _ in server.seen]
    assert paths == ["declare", "upload_finalize", "declare", "upload_chunk", "upload_finalize"]


def test_a_chunk_that_arrived_spoilt_is_sent_again_but_not_for_ever(server):
    spoilt = (400, {}, {"title": "other bytes"})
    server.reply((200, {}, declared(1000, [0])), spoilt, spoilt, (200, {}, {"accepted": True}))
    client = Client(server.url, backoff=FAST)
    client.chunk_bytes = 1000
    assert send_gradient(client)["accepted"]
    server.reply((200, {}, declared(1000, [0])), spoilt)
    with pytest.raises(ServerError, match="other bytes"):
        send_gradient(client)


def test_a_lost_lease_ends_the_upload_at_the_first_chunk_that_hears_of_it(server):
    lost = (409, {}, {"type": "urn:ralo:conflict", "title": "lease lost"})
    server.reply((200, {}, declared(1, list(range(300)))), lost)
    client = Client(server.url, backoff=FAST)
    client.chunk_bytes = 1
    with pytest.raises(ServerError, match="lease lost"):
        send_gradient(client)
    assert len(server.seen) < 100


def test_a_worker_leaves_after_its_last_request_for_work_has_been_answered(server):
    answering = threading.Event()
    server.reply((200, {}, {"returned": 3}))
    plain = server.http.RequestHandlerClass.do_GET

    def slowly(handler):
        assert answering.wait(PATIENCE)
        plain(handler)

    server.http.RequestHandlerClass.do_GET = slowly
    client = Client(server.url, "w7", backoff=FAST)
    asking = threading.Thread(target=_ask, args=(client,))
    asking.start()
    while not client._asking._count:
        time.sleep(0.001)
    left = []
    leaving = threading.Thread(target=lambda: left.append(client.leave()))
    leaving.start()
    leaving.join(0.2)
    assert leaving.is_alive()
    assert not server.seen
    answering.set()
    leaving.join(PATIENCE)
    asking.join(PATIENCE)
    assert left == [3]
    assert [path.partition("?")[0] for _, path, _, _ in server.seen] == ["/get", "/worker/leave"]
    assert server.seen[1][2]["X-Ralo-Worker"] == "w7"


def _ask(client):
    with pytest.raises(Exception):  # noqa: B017, PT011 (what the server answers is no batch)
        client.batch()
