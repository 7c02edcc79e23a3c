"""The orchestrator's clock as a worker reads it out of answers."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_worker.server_clock import ServerClock

ways = st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 30.0))


@given(st.floats(-1e6, 1e6), st.lists(ways, min_size=1, max_size=16))
def test_it_is_wrong_by_half_of_the_quickest_round_trip_at_most(ahead, answers):
    """`answers` are the seconds a request was on its way there, and the answer back."""
    clock, sent = ServerClock(), time.time()
    for there, back in answers:
        clock.heard(sent, sent + there + ahead, sent + there + back)
    quickest = min(there + back for there, back in answers)
    before, now, after = time.time(), clock.now() - ahead, time.time()
    assert before - quickest / 2 - 0.01 <= now <= after + quickest / 2 + 0.01


def test_before_the_first_answer_it_is_this_machines_clock():
    assert ServerClock().now() == pytest.approx(time.time(), abs=1.0)


def test_a_clock_that_was_put_right_is_followed():
    """A quick answer of long ago does not count for ever."""
    clock, sent = ServerClock(), time.time()
    clock.heard(sent, sent + 500.0, sent)
    for _ in range(16):
        clock.heard(sent, sent + 0.1, sent + 0.2)
    assert clock.now() == pytest.approx(time.time(), abs=1.0)
