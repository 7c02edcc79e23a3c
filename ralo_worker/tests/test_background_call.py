"""What runs beside the trainer's main thread: in order, one at a time, and its failures arrive."""

import threading

import pytest
from patience import PATIENCE

from ralo_worker.trainer.exchange.background_call import BackgroundCall


@pytest.fixture(params=[True, False], ids=["overlap", "in its place"])
def beside(request):
    beside = BackgroundCall("test", request.param)
    yield beside
    beside.close()


def began_and_over(beside, *call):
    beside.start(*call)
    return beside.result(PATIENCE)


def test_the_result_is_given_once(beside):
    beside.start(pow, 2, 5)
    assert beside.busy
    assert beside.result(PATIENCE) == 32
    assert not beside.busy
    assert beside.result(PATIENCE) is None


def test_a_failure_arrives_and_is_over(beside):
    with pytest.raises(ZeroDivisionError):
        began_and_over(beside, divmod, 1, 0)
    assert not beside.busy
    assert beside.result(PATIENCE) is None
    beside.start(pow, 2, 5)
    assert beside.result(PATIENCE) == 32


def test_with_overlap_the_caller_goes_on_and_may_ask_again():
    beside, go_on = BackgroundCall("test", overlap=True), threading.Event()
    beside.start(lambda: (go_on.wait(PATIENCE), threading.current_thread())[1])
    with pytest.raises(TimeoutError):
        beside.result(0.01)
    assert beside.busy
    go_on.set()
    assert beside.result(PATIENCE) is not threading.current_thread()
    beside.close()


def test_without_overlap_the_caller_does_it_itself():
    beside = BackgroundCall("test", overlap=False)
    beside.start(threading.current_thread)
    assert beside.result() is threading.current_thread()


def test_closing_waits_for_the_last_call():
    beside, ended = BackgroundCall("test", overlap=True), []
    beside.start(lambda: (threading.Event().wait(0.05), ended.append(1)))
    beside.close()
    assert ended == [1]
    with pytest.raises(RuntimeError):
        beside._pool.submit(print)
