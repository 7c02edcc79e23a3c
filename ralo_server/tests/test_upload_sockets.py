"""Gradient uploads over real sockets to a real gunicorn: cuts, crowds and kill -9."""

import fcntl
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
import torch
from patience import PATIENCE
from safetensors.numpy import load_file
from safetensors.torch import save_file
from web_process import WebProcess, wait_for

from ralo_core import wire
from ralo_core.client import Backoff, Client, WholeBody
from ralo_core.messages.workers import WorkerReport, active_plugins

SHAPE = (1024, 1024 + 256)
CHUNK = 1 << 20
WORKER = b"X-Ralo-Worker: w1\r\n"
FAST = Backoff(first=0.05, cap=0.2, deadline=PATIENCE)


@pytest.fixture
def serve(server, tmp_path):
    """Return a function that gives a run with a published model and the web side it has."""
    model = tmp_path / "model"
    model.mkdir()
    save_file({"w": torch.zeros(SHAPE)}, model / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    started = []

    def start(*settings):
        run = server("trainer.batch_trees=1", "server.chunk_mb=1", f"run.model={model}", *settings)
        run.the_learner = run.learner()
        started.append(WebProcess(run.directory))
        return run, started[-1]

    yield start
    for web in started:
        web.close()


def client_of(web, worker="w1"):
    return Client(web.url, worker, backoff=FAST)


def leased_batch(run):
    run.fill(1)
    return run.batch()


def gradient(seed):
    return {"w": np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)}


def upload(client, batch, upload_id, tensors):
    return client.send_gradient(
        WholeBody({"codec": "none"}, tensors, client.transport),
        upload_id=upload_id, batch_id=batch.id, base_version=0, weight=2.0,
        codec="none", metrics={"loss": 0.5},
    )  # fmt: skip


def post(web, path, document):
    return requests.post(
        f"{web.url}/gradient/{path}",
        json=document,
        headers={"X-Ralo-Worker": "w1"},
        timeout=PATIENCE,
    )


def declare(run, web, batch, body, upload_id="u"):
    answer = post(web, "declare", run.declaration(batch.id, body, upload_id, CHUNK))
    assert answer.status_code == 200, answer.text
    return answer.json()["missing"]


def send(web, index, body, upload_id="u"):
    return requests.post(
        f"{web.url}/gradient/upload_chunk", params={"upload_id": upload_id, "index": index},
        data=body[index * CHUNK : (index + 1) * CHUNK], headers={"X-Ralo-Worker": "w1"},
        timeout=PATIENCE,
    )  # fmt: skip


def begin_chunk(web, index, body, amount, upload_id="u"):
    """Return a connection on which the first `amount` bytes of a chunk were sent."""
    chunk = body[index * CHUNK : (index + 1) * CHUNK]
    head = (
        f"POST /gradient/upload_chunk?upload_id={upload_id}&index={index} HTTP/1.1\r\n"
        f"Host: x\r\nContent-Length: {len(chunk)}\r\n"
    )
    return web.connect(head.encode() + WORKER + b"\r\n" + chunk[:amount])


def cut(connection):
    """Reset the connection, as a network that goes away does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def is_locked(upload, index):
    """Ask the kernel, without taking the lock oneself."""
    with upload.path.open("r+b") as file:
        wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, *upload.extent(index), 0)
        found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, wanted)
    return struct.unpack_from("h", found)[0] != fcntl.F_UNLCK


def body_of(tensors):
    return b"".join(wire.view({"codec": "none"}, tensors))


def committed(run):
    return [(g.info.upload_id, load_file(g.path)["w"]) for g in run.store.gradients.pending()]


def test_a_client_uploads_in_parallel_chunks_of_the_agreed_size(serve):
    run, web = serve()
    client, values = client_of(web), gradient(1)
    answer = upload(client, leased_batch(run), "u", values)
    assert (answer.accepted, answer.duplicate, client.chunk_bytes) == (True, False, CHUNK)
    ((_, found),) = committed(run)
    np.testing.assert_array_equal(found, values["w"])
    assert run.store.gradients.accepted_norms(1) == [
        pytest.approx(float(np.linalg.norm(values["w"].astype("f8"))), rel=1e-6)
    ]


def test_an_upload_goes_on_after_a_cut_in_the_middle_of_a_chunk(serve):
    run, web = serve()
    batch, values = leased_batch(run), gradient(2)
    body = body_of(values)
    indices = declare(run, web, batch, body)
    assert send(web, 4, body).status_code == 200
    cut(begin_chunk(web, 2, body, CHUNK // 2))
    half = begin_chunk(web, 3, body, CHUNK // 2)
    half.shutdown(socket.SHUT_WR)
    assert b"400" in half.recv(4096).split(b"\r\n")[0]
    assert declare(run, web, batch, body) == [index for index in indices if index != 4]
    # The reset connection may still hold its chunk for a moment: the client waits it out.
    assert upload(client_of(web), batch, "u", values).duplicate is False
    ((_, found),) = committed(run)
    np.testing.assert_array_equal(found, values["w"])


@pytest.mark.parametrize("chunk_bytes", [1000, CHUNK])
def test_the_next_request_on_a_connection_begins_where_the_body_ends(serve, chunk_bytes):
    """Headers, body and the next request may arrive together, in one piece or cut anywhere."""
    run, web = serve()
    batch, values = leased_batch(run), gradient(9)
    body = body_of(values)
    declaration = run.declaration(batch.id, body, "u", chunk_bytes)
    assert post(web, "declare", declaration).json()["declared"]
    for index, cut_at in ((0, 10), (1, 900)):
        chunk = body[index * chunk_bytes : (index + 1) * chunk_bytes]
        head = f"POST /gradient/upload_chunk?upload_id=u&index={index} HTTP/1.1\r\nHost: x\r\n"
        sent = head.encode() + WORKER + b"Content-Length: %d\r\n\r\n" % len(chunk) + chunk
        connection = web.connect(sent[:cut_at])
        connection.sendall(sent[cut_at:] + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(65536), b""))  # noqa: B023
        assert answers.count(b"HTTP/1.1 200") == 2, answers
    assert post(web, "declare", declaration).json()["missing"][0] == 2
    assert (
        run.store.uploads.find("u").path.read_bytes()[: 2 * chunk_bytes]
        == (body[: 2 * chunk_bytes])
    )


def test_a_chunk_is_written_by_one_request_at_a_time(serve):
    run, web = serve()
    batch, values = leased_batch(run), gradient(3)
    body = body_of(values)
    declare(run, web, batch, body)
    first = begin_chunk(web, 1, body, 1000)
    wait_for(lambda: is_locked(run.store.uploads.find("u"), 1))
    second = send(web, 1, body)
    assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
    spoilt = b"x" * CHUNK
    first.sendall(body[CHUNK + 1000 : 2 * CHUNK])
    assert b"200" in first.recv(4096).split(b"\r\n")[0]
    assert send(web, 0, spoilt).status_code == 400
    assert upload(client_of(web), batch, "u", values).accepted
    ((_, found),) = committed(run)
    np.testing.assert_array_equal(found, values["w"])


def test_a_crowd_that_sends_the_same_upload_has_the_effect_of_one(serve):
    run, web = serve("server.concurrent_uploads=1")
    batch, values = leased_batch(run), gradient(4)
    with ThreadPoolExecutor(4) as crowd:
        answers = list(crowd.map(lambda _: upload(client_of(web), batch, "u", values), range(4)))
    assert sorted(answer.duplicate for answer in answers) == [False, True, True, True]
    ((_, found),) = committed(run)
    np.testing.assert_array_equal(found, values["w"])


def test_kill_9_of_the_web_side_between_chunks_loses_no_chunk(serve):
    run, web = serve()
    batch, values = leased_batch(run), gradient(5)
    body = body_of(values)
    declare(run, web, batch, body)
    for index in (0, 3):
        assert send(web, index, body).status_code == 200
    dying = begin_chunk(web, 1, body, CHUNK // 2)
    web.kill_9()
    dying.close()
    web.start()
    assert declare(run, web, batch, body) == [1, 2, 4, 5]
    for index in (5, 4, 2, 1):
        assert send(web, index, body).status_code == 200
    assert upload(client_of(web), batch, "u", values).duplicate is False
    ((_, found),) = committed(run)
    np.testing.assert_array_equal(found, values["w"])


def test_a_client_carries_its_upload_through_kill_9_of_the_web_side(serve):
    run, web = serve()
    batch, values = leased_batch(run), gradient(6)
    answers = []
    sender = threading.Thread(
        target=lambda: answers.append(upload(client_of(web), batch, "u", values))
    )
    sender.start()
    chunks = "SELECT COUNT(*) FROM gradient_chunks WHERE received"
    wait_for(lambda: run.store.database.value(chunks))
    web.kill_9()
    web.start()
    sender.join(PATIENCE)
    assert answers[0].accepted
    ((_, found),) = committed(run)
    np.testing.assert_array_equal(found, values["w"])


def test_a_trainer_that_is_held_back_keeps_its_lease_by_its_heartbeat(serve):
    run, web = serve("server.pending_gradients=1", "server.lease_seconds=3.0")
    client = client_of(web)
    client.register("trainer", active_plugins(run.services.host), host="h", pid=1)
    assert upload(client, leased_batch(run), "first", gradient(7)).accepted
    run.fill(1)
    batch, stop = client.batch(), threading.Event()

    def beat():
        while not stop.wait(0.1):
            client.heartbeat(
                WorkerReport(version=0, tokens=0, working_seconds=0.0, waiting_seconds=0.0)
            )

    threading.Thread(target=beat, daemon=True).start()
    waiting = threading.Thread(target=upload, args=(client, batch, "second", gradient(8)))
    waiting.start()
    time.sleep(6.5)  # longer than two leases
    assert waiting.is_alive()
    run.the_learner.step(run.store.gradients.pending())
    waiting.join(PATIENCE)
    stop.set()
    assert [upload_id for upload_id, _ in committed(run)] == ["second"]
