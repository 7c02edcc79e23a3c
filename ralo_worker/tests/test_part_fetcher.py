"""Fetching a part over real HTTP: cuts, lies, absences and detours."""

import hashlib
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from part_server import PartServer

from ralo_core import RaloError, WeightFile
from ralo_core.errors import ServerError
from ralo_worker.weights.parts import PartFetcher
from ralo_worker.weights.sources import Sources

SIZE = 1_000_003
CONTENT = os.urandom(SIZE)
FILE = WeightFile(name="model", size=SIZE, sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def servers():
    """Return a function that starts a server of `CONTENT`."""
    started = []

    def start(fault=lambda *_: None):
        server = PartServer()
        server.publish(0, model=CONTENT)
        server.fault = fault
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


def fetch(origin, target, relays=(), **options):
    sources = Sources(origin.client(), [relay.url for relay in relays])
    options = {"range_bytes": 100_000, **options}
    return PartFetcher(sources, **options).fetch(FILE, target / "model")


def once(*faults):
    """Play one fault per request, then none."""
    left = list(faults)
    return lambda *_: left.pop(0) if left else None


def always(*fault):
    return lambda *_: fault


def test_a_part_arrives_whole_and_each_byte_once(servers, tmp_path):
    origin = servers()
    assert fetch(origin, tmp_path) == SIZE
    assert (tmp_path / "model").read_bytes() == CONTENT
    assert origin.sent.total() == SIZE
    assert len(origin.requests) == 11


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_cut_connection_is_resumed_and_no_byte_comes_twice(servers, tmp_path, kind):
    origin = servers(once((kind, 12_345), (kind, 0), None, (kind, 99_999), (kind, 1)))
    fetched = fetch(origin, tmp_path)
    assert (tmp_path / "model").read_bytes() == CONTENT
    assert fetched == SIZE
    if kind == "cut":  # a reset takes along what the kernel had not handed over yet
        assert origin.sent.total() == SIZE


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 70_000), max_size=12),
    range_bytes=st.integers(50_000, SIZE + 1),
    streams=st.integers(1, 5),
)
def test_however_it_is_cut_it_arrives(tmp_path_factory, cuts, range_bytes, streams):
    origin = PartServer()
    origin.publish(0, model=CONTENT)
    origin.fault = once(*(("cut", cut) for cut in cuts))
    target = tmp_path_factory.mktemp("fetched")
    assert fetch(origin, target, range_bytes=range_bytes, streams=streams) == SIZE
    assert (target / "model").read_bytes() == CONTENT
    assert origin.sent.total() == SIZE
    origin.close()


def test_a_relay_is_asked_first_and_the_orchestrator_only_for_what_it_lacks(servers, tmp_path):
    origin, relay = servers(), servers()
    assert fetch(origin, tmp_path, [relay]) == SIZE
    assert (origin.sent.total(), relay.sent.total()) == (0, SIZE)
    relay.gone = {FILE.sha256}
    fetch(origin, tmp_path, [relay])
    assert origin.sent.total() == SIZE


def test_relays_are_asked_in_order(servers, tmp_path):
    origin, near, far = servers(), servers(always("status", 502)), servers()
    fetch(origin, tmp_path, [near, far])
    assert (origin.sent.total(), far.sent.total()) == (0, SIZE)


def test_wrong_bytes_of_a_relay_are_not_used_and_it_is_left_alone(servers, tmp_path):
    origin, relay = servers(), servers(always("wrong"))
    fetcher = PartFetcher(Sources(origin.client(), [relay.url]), range_bytes=100_000)
    assert fetcher.fetch(FILE, tmp_path / "model") == 2 * SIZE
    assert (tmp_path / "model").read_bytes() == CONTENT
    asked = len(relay.requests)
    assert fetcher.fetch(FILE, tmp_path / "again") == SIZE
    assert len(relay.requests) == asked, "its lies are remembered"


@pytest.mark.parametrize("fault", [("whole",), ("status", 500), ("status", 403), ("cut", 0)])
def test_a_relay_that_cannot_serve_is_passed_by(servers, tmp_path, fault):
    origin, relay = servers(), servers(always(*fault))
    assert fetch(origin, tmp_path, [relay]) == SIZE
    assert (tmp_path / "model").read_bytes() == CONTENT
    assert len(relay.requests) <= 4, "each stream finds out once at most"


def test_a_relay_that_knows_no_ranges_serves_what_is_small(servers, tmp_path):
    origin, relay = servers(), servers(always("whole"))
    assert fetch(origin, tmp_path, [relay], range_bytes=SIZE) == SIZE
    assert (origin.sent.total(), relay.requests) == (0, [(FILE.sha256, None)])


def test_a_relay_that_is_not_there_is_passed_by(servers, tmp_path):
    origin, relay = servers(), servers()
    relay.close()
    assert fetch(origin, tmp_path, [relay]) == SIZE


def test_a_part_damaged_on_the_way_is_fetched_again_and_refused_in_the_end(servers, tmp_path):
    origin = servers(once(("wrong",)))
    fetch(origin, tmp_path)
    assert (tmp_path / "model").read_bytes() == CONTENT
    (tmp_path / "model").unlink()
    origin.fault = always("wrong")
    with pytest.raises(RaloError, match="gave other bytes 3 times"):
        fetch(origin, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_was_pruned_is_said_to_be(servers, tmp_path):
    origin, relay = servers(), servers()
    origin.gone = relay.gone = {FILE.sha256}
    with pytest.raises(ServerError) as raised:
        fetch(origin, tmp_path, [relay])
    assert raised.value.status == 404
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_is_followed_without_the_token(servers, tmp_path):
    store = servers()
    origin = servers(lambda *_: ("redirect", store.url))
    assert fetch(origin, tmp_path) == SIZE
    assert (origin.sent.total(), store.sent.total()) == (0, SIZE)
    assert all(headers["Authorization"] == "Bearer secret" for headers in origin.headers)
    for headers in store.headers:
        assert not {"Authorization", "X-Ralo-Worker"} & headers.keys()


@pytest.mark.parametrize("fault", [("status", 403), ("wrong",), ("cut", 0)])
def test_an_object_store_that_fails_is_replaced_by_the_orchestrator(servers, tmp_path, fault):
    store, origin = servers(always(*fault)), servers()

    def redirect(*_):
        direct = "X-Ralo-Direct" in origin.headers[-1]
        return None if direct else ("redirect", store.url)

    origin.fault = redirect
    fetch(origin, tmp_path, streams=1)
    assert (tmp_path / "model").read_bytes() == CONTENT
    assert origin.sent.total() == SIZE


def test_an_empty_file_is_fetched_without_a_range(servers, tmp_path):
    origin = servers()
    empty = origin.publish(1, empty=b"").files[0]
    assert PartFetcher(Sources(origin.client())).fetch(empty, tmp_path / "empty") == 0
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_worker_that_stops_leaves_nothing(servers, tmp_path):
    origin, stopping = servers(), threading.Event()

    def stop(*_):
        stopping.set()
        return ("cut", 10)

    origin.fault = stop
    fetcher = PartFetcher(Sources(origin.client(stopping=stopping)), range_bytes=100_000)
    with pytest.raises(ConnectionError):
        fetcher.fetch(FILE, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
