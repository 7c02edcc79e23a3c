"""What a sampler reports on its engine, out of readings of its stats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_core import EngineStats
from ralo_worker.sampler.usage_meter import WINDOW_SECONDS, UsageMeter


def reading(running=0, prompt=0, cached=0, decoded=0, waiting=0):
    return EngineStats(
        running=running, waiting=waiting, prompt_tokens=prompt, cached_tokens=cached,
        decoded_tokens=decoded,
    )  # fmt: skip


growth = st.tuples(  # seconds, running, prompt tokens new and cached, decoded
    st.floats(0.01, 4.0), st.integers(0, 90), st.integers(0, 50), st.integers(0, 50),
    st.integers(0, 999),
)  # fmt: skip


@given(st.lists(growth, min_size=1, max_size=30))
def test_rates_are_those_of_the_last_seconds(steps):
    """Against plain lists: the readings of the window, and one before its beginning."""
    meter, now, rows = UsageMeter(64), 100.0, [(100.0, reading())]
    meter.read(*rows[0])
    prompt = cached = decoded = 0
    for seconds, running, new, known, tokens in steps:
        now, prompt, cached = now + seconds, prompt + new + known, cached + known
        decoded += tokens
        rows.append((now, reading(running, prompt, cached, decoded, waiting=3)))
        report = meter.read(*rows[-1])
    began = max((row for row in rows if row[0] <= now - WINDOW_SECONDS), default=rows[0])
    inside = [row for row in rows if row[0] >= began[0]]
    assert report.tokens_per_second == pytest.approx(
        (decoded - began[1].decoded_tokens) / (now - began[0])
    )
    fills = [min(stats.running, 64) / 64 for _, stats in inside]
    assert report.utilisation == pytest.approx(sum(fills) / len(fills))
    asked = prompt - began[1].prompt_tokens
    known = cached - began[1].cached_tokens
    assert report.cache_hits == pytest.approx(known / asked if asked else 0.0)
    assert (report.decoded_tokens, report.prompt_tokens, report.cached_tokens) == (
        decoded, prompt, cached
    )  # fmt: skip
    assert (report.running, report.waiting) == (rows[-1][1].running, 3)


def test_the_first_reading_has_no_rates():
    report = UsageMeter(8).read(5.0, reading(running=4, decoded=100, prompt=10))
    assert (report.tokens_per_second, report.cache_hits, report.utilisation) == (0.0, 0.0, 0.5)
