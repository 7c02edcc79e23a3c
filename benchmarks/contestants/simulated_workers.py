"""Many workers in one process, and how long the server took to answer each of their requests.

A worker does what a real one does, in a thread per loop: it beats, follows the weights in a long
poll, leases work in another and hands it in. Requests go over kept connections of http.client,
which costs so little that the clients do not take the cores from the server.
"""

import http.client
import json
import os
import random
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import numpy as np

from ralo_core import PROMPT, TreeBuilder, wire

HEARTBEAT_SECONDS, WAIT_SECONDS, STATS_SECONDS = 2.0, 2.0, 1.0
SAMPLE_SECONDS, TRAIN_SECONDS = 1.0, 0.5
WARM_UP_SECONDS = 3.0
UPLOAD, BARE_FSYNC = "upload", "bare fsync"

Latencies = list[tuple[str, float]]


@attrs.define
class Connection:
    """One kept connection of the worker `name`; what is timed goes into `latencies`."""

    url: str
    name: str
    latencies: Latencies
    _http: http.client.HTTPConnection | None = None

    def send(
        self, method: str, path: str, body: bytes | None = None, *, timed: str = "", **extra: str
    ) -> tuple[int, bytes]:
        """Return status and body of an answer; its seconds are noted under `timed`."""
        headers = {"X-Ralo-Worker": self.name, **{k.replace("_", "-"): v for k, v in extra.items()}}
        if self._http is None:
            address = urlsplit(self.url)
            self._http = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
            self._http.connect()
            self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = time.perf_counter()
        self._http.request(method, path, body, headers)
        answer = self._http.getresponse()
        content = answer.read()
        if timed:
            self.latencies.append((timed, time.perf_counter() - started))
        if answer.status >= 400 and answer.status not in (404, 409):
            msg = f"{method} {path}: HTTP {answer.status} {content[:200]!r}"
            raise RuntimeError(msg)
        return answer.status, content

    def post(self, path: str, timed: str, **body: Any) -> dict[str, Any]:
        """Return the JSON that answers a JSON body."""
        answer: dict[str, Any] = json.loads(
            self.send("POST", path, json.dumps(body).encode(), timed=timed)[1]
        )
        return answer


@attrs.define
class Worker:
    """A sampler, or a trainer, in threads that end when `stopping` is set."""

    url: str
    role: str
    name: str
    stopping: threading.Event
    latencies: Latencies = attrs.field(factory=list)
    held: list[str] = attrs.field(factory=list)

    def start(self) -> list[threading.Thread]:
        """Begin to work; the threads run until `stopping`."""
        connection = self._connect()
        plugins = json.loads(connection.send("GET", "/config")[1])["plugins"]
        connection.post(
            "/worker/register", "", worker_id=self.name, role=self.role, plugins=plugins
        )
        work = self._sample if self.role == "sampler" else self._train
        threads = [threading.Thread(target=loop) for loop in (work, self._beat, self._follow)]
        for thread in threads:
            thread.start()
        return threads

    def _connect(self) -> Connection:
        return Connection(self.url, self.name, self.latencies)

    def _pause(self, seconds: float) -> None:
        self.stopping.wait(seconds * random.uniform(0.5, 1.5))  # noqa: S311

    def _beat(self) -> None:
        connection = self._connect()
        while not self.stopping.is_set():
            self._pause(HEARTBEAT_SECONDS)
            connection.post(
                "/worker/heartbeat", "heartbeat", worker_id=self.name, lease_ids=self.held[:],
                version=0, tokens=0, working_seconds=0.0, waiting_seconds=0.0,
            )  # fmt: skip

    def _follow(self) -> None:
        connection, version = self._connect(), -1
        while not self.stopping.is_set():
            query = urlencode({"after": version, "wait": WAIT_SECONDS})
            status, body = connection.send("GET", f"/weights/version?{query}")
            if status == 200:
                version = json.loads(body)["number"]
                query = urlencode({"version": version})
                connection.send("GET", f"/weights/manifest?{query}", timed="manifest")

    def _sample(self) -> None:
        connection = self._connect()
        while not self.stopping.is_set():
            query = urlencode({"count": 1, "wait": WAIT_SECONDS})
            key = uuid.uuid4().hex
            status, body = connection.send("GET", f"/problem/get?{query}", Idempotency_Key=key)
            for leased in json.loads(body)["problems"] if status == 200 else ():
                lease = leased["lease_id"]
                self.held.append(lease)
                self._pause(SAMPLE_SECONDS)
                tree = wire.pack_tree(_tree(leased["problem"]["id"], lease))
                connection.send("POST", "/upload", tree, timed=UPLOAD, Idempotency_Key=lease)
                self.held.remove(lease)

    def _train(self) -> None:
        connection = self._connect()
        while not self.stopping.is_set():
            key = uuid.uuid4().hex
            path = f"/get?wait={WAIT_SECONDS}"
            status, body = connection.send("GET", path, Idempotency_Key=key)
            if status == 200:
                batch = wire.unpack_batch(body).id
                self.held.append(batch)
                self._pause(TRAIN_SECONDS)
                connection.post("/lease/renew", "renew", lease_ids=[batch])
                connection.post("/lease/release", "release", lease_ids=[batch], outcome="empty")
                self.held.remove(batch)


def _tree(problem_id: str, lease_id: str) -> Any:
    """Return a tree of eight answers of 64 tokens."""
    builder = TreeBuilder(problem_id, [1, 2, 3], lease_id=lease_id)
    for _ in range(8):
        builder.add_leaf(builder.add_segment(PROMPT, [5] * 64, [-1.0] * 64, 0), "eos")
    return builder.build().with_rewards({}, np.ones(8, np.float32))


def _write_synced(path: Path) -> float:
    """Return the seconds that the disk takes for the bytes of a tree without any server."""
    body = wire.pack_tree(_tree("p", "l"))
    started = time.perf_counter()
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - started


def work(url: str, names: list[tuple[str, str]], seconds: float, disk: Path) -> Latencies:
    """Be these workers, (role, name) each; return their latencies of `seconds`, counted from when
    all of them have got going. What they write for comparison goes to the folder `disk`."""
    stopping = threading.Event()
    workers = [Worker(url, role, name, stopping) for role, name in names]
    threads = [thread for worker in workers for thread in worker.start()]
    watcher = Connection(url, f"view-{names[0][1]}", [])
    time.sleep(WARM_UP_SECONDS)
    for worker in workers:
        worker.latencies.clear()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        watcher.send("GET", "/stats", timed="stats")
        watcher.send("GET", "/health", timed="health")
        watcher.latencies.append((BARE_FSYNC, _write_synced(disk / names[0][1])))
        time.sleep(STATS_SECONDS)
    latencies = [*watcher.latencies, *(entry for worker in workers for entry in worker.latencies)]
    stopping.set()
    for thread in threads:
        thread.join()
    return latencies
