"""Parts by their sha256: what RFC 9110 says of ranges and validators, over real gunicorn; holds."""

import hashlib
import os
import socket
from pathlib import Path

import pytest
import requests
from patience import PATIENCE
from published import publish
from web_process import WebProcess, wait_for

CONTENT = os.urandom(3 << 20)


@pytest.fixture
def web(server):
    """A served run with a version, and the URL of its one part."""
    run = server()
    version = publish(run.store, 0, CONTENT)
    process = WebProcess(run.directory)
    process.run, process.version = run, version
    process.part = f"{process.url}/weights/parts/{version.files[0].sha256}"
    yield process
    process.close()


def get(url, method="GET", **headers):
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    return requests.request(method, url, headers=names, timeout=PATIENCE)


def test_a_part_is_found_by_its_digest_and_may_be_kept_for_ever(web):
    answer = get(web.part)
    assert answer.content == CONTENT
    assert answer.headers["ETag"] == f'"{web.version.files[0].sha256}"'
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Accept-Ranges"] == "bytes"
    by_name = get(f"{web.url}/weights/download?version=0&file=model.safetensors")
    assert by_name.content == CONTENT
    assert by_name.headers["ETag"] == answer.headers["ETag"]


def test_a_range_is_exactly_that(web):
    end = len(CONTENT) - 1
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=10-1999999", 10, 1_999_999),
        ("bytes=2000000-", 2_000_000, end),
        ("bytes=-7", end - 6, end),
        ("bytes=-99999999", 0, end),
        ("bytes=5-99999999", 5, end),
    ):
        answer = get(web.part, Range=asked)
        assert answer.status_code == 206
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"
        assert answer.content == CONTENT[first : last + 1]


def test_a_connection_is_used_again_after_a_range(web):
    with requests.Session() as session:
        for start in (0, 1 << 20, 2 << 20):
            headers = {"Range": f"bytes={start}-{start + 99}"}
            answer = session.get(web.part, headers=headers, timeout=PATIENCE)
            assert answer.content == CONTENT[start : start + 100]


def test_ranges_that_are_not_served_give_the_whole_and_those_beyond_it_nothing(web):
    for header in ("bytes=0-4,8-9", "lines=1-2"):
        answer = get(web.part, Range=header)
        assert (answer.status_code, len(answer.content)) == (200, len(CONTENT))
    for header in ("bytes=3145728-", "bytes=99999999-100000000"):
        answer = get(web.part, Range=header)
        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_if_range_goes_on_with_the_same_and_begins_anew_with_another(web):
    etag = get(web.part, "HEAD").headers["ETag"]
    assert get(web.part, Range="bytes=5-9", If_Range=etag).status_code == 206
    for other in ('"other"', f"W/{etag}", "Sun, 06 Nov 1994 08:49:37 GMT"):
        answer = get(web.part, Range="bytes=5-9", If_Range=other)
        assert (answer.status_code, answer.content) == (200, CONTENT)


def test_a_client_that_does_not_read_is_given_up(web):
    limit = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert web.listener.getsockopt(*limit) == 30_000
    web.listener.setsockopt(*limit, 500)  # what is accepted from now on inherits it
    large = publish(web.run.store, 1, bytes(32 << 20)).files[0]
    request = f"GET /weights/parts/{large.sha256} HTTP/1.1\r\nHost: x\r\n\r\n"
    silent = web.connect(request.encode())
    path = web.run.store.versions.directory(1) / large.name
    wait_for(lambda: path in opened(web))
    wait_for(lambda: path not in opened(web))
    silent.close()


def opened(web):
    """Return what the worker of gunicorn has open."""
    children = Path(f"/proc/{web.process.pid}/task/{web.process.pid}/children").read_text()
    return {
        link.resolve() for pid in children.split() for link in Path(f"/proc/{pid}/fd").iterdir()
    }


def test_who_has_it_gets_304_and_head_gets_no_body(web):
    head = get(web.part, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(CONTENT))
    etag = head.headers["ETag"]
    for tags in (etag, "*", f'"x", {etag}'):
        same = get(web.part, If_None_Match=tags)
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    assert get(web.part, If_None_Match='"x"').status_code == 200


def test_what_is_no_part_is_not_found(web):
    for name in ("0" * 64, "x", "..%2F..%2Fstate.db", "%00", "A" * 64):
        answer = get(f"{web.url}/weights/parts/{name}")
        assert answer.status_code == 404, name
        assert "Cache-Control" not in answer.headers


def test_deltas_are_parts_and_go_with_their_version(server):
    run = server()
    for number in range(3):
        publish(run.store, number, b"full %d" % number, [b"short %d" % number])
    for content in (b"full 1", b"short 1", b"short 2"):
        assert part(run, content).content == content
    assert run.store.versions.prune(1) == [1]
    assert part(run, b"full 1").status_code == part(run, b"short 1").status_code == 404
    assert part(run, b"short 2").status_code == 200


def test_a_file_of_several_versions_stays_as_long_as_one_of_them(server):
    run = server()
    for number in range(3):
        publish(run.store, number, b"same" if number else b"first")
    assert run.store.versions.prune(1) == [1]
    assert part(run, b"same").content == b"same"


def part(run, content, worker=None):
    name = hashlib.sha256(content).hexdigest()
    headers = {} if worker is None else {"X-Ralo-Worker": worker}
    return run.http.simulate_get(f"/weights/parts/{name}", headers=headers)


def test_the_manifest_tells_of_tensors_where_the_file_does(server):
    run = server()
    publish(run.store, 0, CONTENT, tensors={"w": {"shape": [2], "dtype": "BF16"}})
    publish(run.store, 1, CONTENT)
    manifest = run.http.simulate_get("/weights/manifest", params={"version": 0}).json
    assert manifest["tensors"] == {"w": {"shape": [2], "dtype": "BF16"}}
    other = run.http.simulate_get("/weights/manifest", params={"version": 1}).json
    assert other["tensors"] is None


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def held(server, monkeypatch):
    """A run of four versions at a clock that stands still, holds last 100 seconds."""
    run = server("server.lease_seconds=100.0")
    run.clock = Clock()
    for number in range(4):
        publish(run.store, number, b"full %d" % number)
    object.__setattr__(run.store.versions, "clock", run.clock)
    object.__setattr__(run.store.version_holds, "clock", run.clock)
    return run


def ask(run, number, worker="w1"):
    answer = run.http.simulate_get(
        "/weights/manifest", params={"version": number}, headers={"X-Ralo-Worker": worker}
    )
    assert answer.status_code == 200


def test_a_version_that_a_worker_fetches_is_not_pruned_until_it_is_silent(held):
    ask(held, 1)
    held.clock.now += 60
    assert part(held, b"full 1", "w1").status_code == 200
    held.clock.now += 60
    assert held.store.versions.prune(1) == [2]
    assert part(held, b"full 1", "w2").status_code == 200, "another's look renews nothing"
    held.clock.now += 60
    assert held.store.versions.prune(1) == [1]


def test_a_worker_holds_the_last_version_that_it_was_told_of(held):
    ask(held, 1)
    held.http.simulate_get("/weights/version", params={"after": 0})
    assert held.store.versions.prune(1) == [1, 2]


def test_workers_hold_versions_of_their_own_and_nobody_one_that_is_not_there(held):
    ask(held, 1, "w1")
    ask(held, 2, "w2")
    missing = held.http.simulate_get("/weights/manifest", params={"version": 9})
    assert missing.status_code == 404
    assert held.store.versions.prune(1) == []
    assert held.store.database.value("SELECT COUNT(*) FROM version_holds") == 2
