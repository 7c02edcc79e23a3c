"""Long polls: who waits for the same asks once, and there is always room for those who do not."""

import threading
import time

import falcon
import pytest
from patience import PATIENCE

from ralo_server.web.live.waiting import Waiting

WAITERS = 10


@pytest.fixture
def crowd():
    """Return a function that lets many requests wait at once and returns their responses."""

    def wait(waiting, ask, seconds):
        responses = [falcon.Response() for _ in range(WAITERS)]
        threads = [
            threading.Thread(target=waiting.until, args=("question", ask, seconds, response))
            for response in responses
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        return responses

    return wait


def test_of_those_who_wait_for_the_same_only_one_asks(crowd):
    asked = []
    responses = crowd(Waiting(places=WAITERS), lambda: asked.append(time.monotonic()), 0.4)
    assert all(response.status == falcon.HTTP_204 for response in responses)
    alone = 0.4 / 0.02
    assert len(asked) < WAITERS + 2 * alone, "each of them asking would be ten times as often"


def test_an_answer_goes_to_one_and_the_next_asks_at_once(crowd):
    answers, got = list(range(WAITERS)), []

    def ask():
        if time.monotonic() < started + 0.2:
            return None
        got.append(answers.pop())
        return got[-1]

    started = time.monotonic()
    crowd(Waiting(places=WAITERS), ask, 60.0)
    assert sorted(got) == list(range(WAITERS))
    assert time.monotonic() - started < 50.0


def test_who_finds_no_place_is_told_to_come_again(crowd):
    responses = crowd(Waiting(places=3), lambda: None, 0.3)
    turned_away = [r for r in responses if r.get_header("Retry-After") == "1"]
    assert len(turned_away) == WAITERS - 3
    assert all(response.status == falcon.HTTP_204 for response in responses)


def test_a_place_is_free_again_after_a_wait_and_after_a_failure():
    waiting = Waiting(places=1)
    with pytest.raises(ZeroDivisionError):
        waiting.until("q", lambda: 1 / 0, 1.0, falcon.Response())
    for _ in range(2):
        response = falcon.Response()
        waiting.until("q", lambda: None, 0.05, response)
        assert response.get_header("Retry-After") is None


def test_waits_end_when_the_process_stops():
    waiting = Waiting(places=1)
    threading.Timer(0.1, setattr, (waiting, "alive", lambda: False)).start()
    started = time.monotonic()
    waiting.until("q", lambda: None, 60.0, falcon.Response())
    assert time.monotonic() - started < 50.0
