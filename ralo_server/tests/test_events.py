"""The stream of events: what is told, to whom, at what price, and how it ends."""

import json
import threading
import time
from contextlib import closing

import pytest
import requests
from patience import PATIENCE
from run_stats import run_stats
from web_process import WebProcess, wait_for

from ralo_core.messages.evaluations import Estimate, Evaluation
from ralo_server.store import Store
from ralo_server.store.values import put_value
from ralo_server.web.live.feed import Feed


@pytest.fixture
def web(make_run):
    """The web process of a run with four threads, three of which may wait."""
    process = WebProcess(make_run("server.threads=4"))
    process.store = Store(process.directory, process.directory.load_config(())[0])
    yield process
    process.close()


def listen(web, **headers):
    answer = requests.get(f"{web.url}/events", headers=headers, stream=True, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer


def events(answer):
    """Yield (event, data, id) as a browser understands the stream."""
    fields = {}
    for line in answer.iter_lines(decode_unicode=True):
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id")
            fields = {}


def until(stream, kind):
    return next(event for event in stream if event[0] == kind)


def commit_step(store, number, **metrics):
    with store.database.write() as connection:
        connection.execute(
            "INSERT INTO steps (step, metrics) VALUES (?, ?)",
            (number, json.dumps({"step": number, **metrics})),
        )


def set_state(store, state):
    with store.database.write() as connection:
        put_value(connection, "state", state)


def test_first_the_state_then_what_happens_then_the_end(web):
    commit_step(web.store, 1, reward=0.1)
    with closing(listen(web)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Cache-Control"] == "no-store"
        stream = events(answer)
        kind, state, _ = next(stream)
        expected = requests.get(f"{web.url}/stats", timeout=PATIENCE).json()
        del expected["steps"]
        assert (kind, state) == ("stats", expected)
        assert state["bottleneck"].startswith("no sampler and no trainer is connected")
        commit_step(web.store, 2, reward=0.2, **{"stop/eos": 0.5})
        kind, step, number = until(stream, "step")
        metrics = {"step": 2, "reward": 0.2, "stop/eos": 0.5}
        assert (step, number) == ({"step": 2, "metrics": metrics}, "2")
        set_state(web.store, "finished")
        *_, (kind, _, _) = stream
        assert kind == "end"
    with closing(listen(web)) as answer:
        assert [kind for kind, _, _ in events(answer)] == ["stats", "end"]


def test_who_comes_back_is_told_what_it_missed_also_by_a_new_process(web):
    for number in (1, 2, 3):
        commit_step(web.store, number)
    with closing(listen(web)) as answer:
        assert next(events(answer))[0] == "stats"
        web.kill_9()
        web.start()
    for headers in ({"Last-Event-ID": "1"}, {"Last-Event-ID": "x" * 99}):
        with closing(listen(web, **headers)) as answer:
            stream = events(answer)
            assert next(stream)[0] == "stats"
            if headers["Last-Event-ID"] == "1":
                assert [next(stream)[1]["step"] for _ in range(2)] == [2, 3]
            commit_step(web.store, newest := web.store.run.step() + 1)
            assert until(stream, "step")[1]["step"] == newest, "nothing twice, nothing left out"


def test_listeners_hold_places_and_give_them_back_when_they_go(web):
    streams = [listen(web) for _ in range(3)]
    for answer in streams:
        assert next(events(answer))[0] == "stats"
    turned_away = requests.get(f"{web.url}/events", timeout=PATIENCE)
    assert (turned_away.status_code, turned_away.headers["Retry-After"]) == (503, "1")
    assert turned_away.headers["Content-Type"] == "application/problem+json"
    waiting = requests.get(f"{web.url}/weights/version", params={"wait": 30}, timeout=25)
    assert (waiting.status_code, waiting.headers["Retry-After"]) == (204, "1"), "no place either"
    assert requests.get(f"{web.url}/health", timeout=PATIENCE).status_code == 200
    for answer in streams:
        answer.close()

    def there_is_room():
        set_state(web.store, "running")
        commit_step(web.store, web.store.run.step() + 1)  # something is written to them
        answers = [
            requests.get(f"{web.url}/events", stream=True, timeout=PATIENCE) for _ in range(3)
        ]
        for answer in answers:
            answer.close()
        return {answer.status_code for answer in answers} == {200}

    wait_for(there_is_room)


def test_a_stream_ends_when_the_server_is_told_to_stop(web):
    with closing(listen(web)) as answer:
        stream = events(answer)
        assert next(stream)[0] == "stats"
        web.process.terminate()
        assert [kind for kind, _, _ in stream if kind == "end"] == [], "the run goes on"
        assert web.process.wait(PATIENCE) == 0


class Run:
    """A run for a feed; counts how often it is asked."""

    def __init__(self):
        self.looks, self.step, self.over, self.evaluations = 0, 0, False, ()

    def state(self):
        self.looks += 1
        stats = run_stats(
            step=self.step, elapsed_seconds=float(self.looks), evaluations=self.evaluations
        )
        return stats, self.over

    def steps(self, after):
        return [(step, {"loss": float("nan")}) for step in range(after + 1, self.step + 1)]


def result(version):
    return Evaluation(
        version=version,
        step=version,
        benchmark="held_out",
        items=1,
        samples=1,
        time=0.0,
        seconds=1.0,
        tokens=3,
        metrics={"accuracy": Estimate(value=1.0, low=0.5, high=1.0)},
        abandoned=False,
    )


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("ralo_server.web.live.feed._INTERVAL_SECONDS", 0.05)
    return Run()


def test_another_listener_costs_no_look(quick):
    feed, began = Feed(quick.state, quick.steps, lambda: True), time.monotonic()
    heard = [[] for _ in range(12)]
    threads = [
        threading.Thread(target=lambda to=to: to.extend(feed.listen(None)), daemon=True)
        for to in heard
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: quick.looks >= 10)
    quick.step, quick.evaluations = 2, (result(2),)
    wait_for(lambda: all(b"event: eval" in b"".join(texts) for texts in heard))
    quick.over = True
    for thread in threads:
        thread.join(PATIENCE)
    assert quick.looks <= 2 + (time.monotonic() - began) / 0.05
    for texts in heard:
        stream = b"".join(texts).decode()
        assert stream.count("event: step") == 2
        assert '{"step":2,"metrics":{"loss":null}}' in stream
        assert stream.count('event: eval\ndata: {"version":2,') == 1
        assert stream.endswith("event: end\ndata: {}\n\n")


def test_nobody_is_asked_while_nobody_listens_and_the_next_one_hears_what_is_so_now(quick):
    feed = Feed(quick.state, quick.steps, lambda: True)
    with closing(feed.listen(None)) as stream:
        assert b'"elapsed_seconds":1.0,' in next(stream)
    wait_for(lambda: feed._watch is None)
    asked, quick.step = quick.looks, 7
    time.sleep(0.3)
    assert quick.looks == asked
    with closing(feed.listen(5)) as stream:
        assert b'"step":7,' in next(stream)
        assert [b'"step":6' in next(stream), b'"step":7' in next(stream)] == [True, True]


def test_where_the_store_fails_streams_end_and_the_next_one_works(quick, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda error: failed.append(error.exc_type))
    failed, feed = [], Feed(quick.state, quick.steps, lambda: True)
    stream = feed.listen(None)
    next(stream)
    quick.evaluations = None
    assert b"event: end" not in b"".join(stream)
    assert failed == [TypeError]
    quick.evaluations = ()
    with closing(feed.listen(None)) as again:
        assert b"event: stats" in next(again)


def test_silence_is_broken_so_that_the_connection_stays(quick, monkeypatch):
    monkeypatch.setattr("ralo_server.web.live.feed._SILENCE_SECONDS", 0.2)
    feed = Feed(lambda: (run_stats(), False), quick.steps, lambda: True)
    with closing(feed.listen(None)) as stream:
        next(stream)
        assert next(stream).startswith(b":")


def test_a_step_that_comes_while_one_catches_up_is_told_once(quick):
    feed = Feed(quick.state, quick.steps, lambda: True)
    with closing(feed.listen(0)) as stream:
        assert b'"step":0,' in next(stream)
        quick.step = 1
        wait_for(lambda: feed._latest.last_step == 1)  # it is among the news now
        assert b"event: step\nid: 1\n" in next(stream)
        quick.over = True
        assert b"event: step" not in b"".join(stream)
