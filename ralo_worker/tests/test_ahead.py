"""Batches and weights that are fetched while the trainer computes."""

import threading
from types import SimpleNamespace

import pytest
from patience import PATIENCE

from ralo_core.errors import RunOver
from ralo_worker.membership import Activity
from ralo_worker.trainer.exchange.batch_prefetch import BatchPrefetch
from ralo_worker.trainer.exchange.weight_prefetch import WeightPrefetch
from ralo_worker.trainer.phases import Phases


class Orders:
    """A client that hands out what it was given, in order, and then nothing; counts who asks."""

    def __init__(self, *answers):
        self.answers, self.threads = list(answers), []
        self.asked = threading.Event()

    def batch(self, wait):
        self.threads.append(threading.current_thread())
        answer = self.answers.pop(0) if self.answers else None
        self.asked.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


def ahead(client, overlap):
    stopping = threading.Event()
    return BatchPrefetch(client, Phases(Activity()), stopping, overlap), stopping


def taken(batches):
    """Return the next batch as the loop does: it asks again until there is one."""
    for _ in range(10):
        batch = batches.next()
        if batch is not None:
            return batch
    return None


def test_the_next_batch_is_fetched_while_the_present_one_is_computed():
    client = Orders("a", None, "b")
    batches, _ = ahead(client, overlap=True)
    assert taken(batches) == "a"
    client.asked.clear()
    batches.prepare(0.0)
    assert client.asked.wait(PATIENCE)
    assert taken(batches) == "b"
    batches.close()
    here = threading.current_thread()
    assert [thread is here for thread in client.threads] == [True, False, False]


def test_without_overlap_nothing_is_fetched_ahead():
    client = Orders("a", "b")
    batches, _ = ahead(client, overlap=False)
    assert taken(batches) == "a"
    batches.prepare(0.0)
    assert len(client.threads) == 1
    assert taken(batches) == "b"
    batches.close()


def test_what_the_fetch_raises_arrives_with_the_next_batch():
    client = Orders("a", RunOver("over"))
    batches, _ = ahead(client, overlap=True)
    assert taken(batches) == "a"
    batches.prepare(0.0)
    with pytest.raises(RunOver):
        taken(batches)
    batches.close()


def test_a_trainer_that_stops_does_not_wait_for_the_next_batch():
    client = Orders("a")
    batches, stopping = ahead(client, overlap=True)
    assert taken(batches) == "a"
    batches.prepare(3600.0)
    stopping.set()
    batches.close()
    assert len(client.threads) == 1


class Versions:
    """A cache in which version after version comes to be, one per question, up to `last`."""

    def __init__(self, last, then=None):
        self.last, self.then = last, then

    def newest(self, known, wait=0.0):
        if known < self.last:
            return staged(known + 1)
        if self.then:
            raise self.then
        threading.Event().wait(0.005)
        return None


def staged(number):
    return SimpleNamespace(version=SimpleNamespace(number=number), bytes=1, seconds=0.0)


def weights(cache, overlap):
    stopping = threading.Event()
    return WeightPrefetch(cache, staged(0), Activity(), stopping, overlap), stopping


def until(weights, numbers):
    for _ in range(2000):
        if weights.numbers() == numbers:
            return True
        threading.Event().wait(0.005)
    return False


@pytest.mark.parametrize("overlap", [True, False])
def test_versions_gather_until_one_is_taken(overlap):
    ahead, stopping = weights(Versions(3), overlap)
    assert until(ahead, {1, 2, 3})
    assert ahead.take(2).version.number == 2
    assert ahead.numbers() == {3}
    stopping.set()


def test_without_overlap_versions_come_when_they_are_asked_for():
    ahead, _ = weights(Versions(2), overlap=False)
    assert ahead.numbers() == {1}
    assert ahead.numbers() == {1, 2}


@pytest.mark.parametrize("overlap", [True, False])
def test_a_failure_is_raised_where_the_trainer_looks(overlap):
    ahead, stopping = weights(Versions(0, then=OSError("disk full")), overlap)
    with pytest.raises(OSError, match="disk full"):
        until(ahead, {1})
    stopping.set()


def test_the_end_of_the_run_and_a_lost_server_while_stopping_are_no_failures():
    ahead, _ = weights(Versions(1, then=RunOver("over")), overlap=True)
    assert until(ahead, {1})
    ahead._following.result(PATIENCE)
    assert ahead.numbers() == {1}
    late, stopping = weights(Versions(0, then=ConnectionError("gone")), overlap=False)
    with pytest.raises(ConnectionError):
        late.numbers()
    stopping.set()
    assert late.numbers() == set()
