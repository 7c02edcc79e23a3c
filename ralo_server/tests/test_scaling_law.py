"""The scaling law: what is found in synthetic curves, and what is refused."""

import numpy as np
import pytest

from ralo_server.scaling.fit import fit
from ralo_server.scaling.intervals import _memory, _remembering, replicates
from ralo_server.scaling.law import Law
from ralo_server.scaling.least_squares import Points, best_law

NOISE = 0.01
"""Of the rise."""


def random_law(rng):
    start = rng.uniform(0.0, 0.3)
    return Law(
        A=start + rng.uniform(0.2, 0.7),
        R0=start,
        C_mid=10 ** rng.uniform(-2, 6),
        B=rng.uniform(0.8, 3.0),
    )


def compute_between(law, first, last, count):
    """Return compute, evenly in log, from where the share `first` of the rise is done to `last`."""
    ends = [law.C_mid * (share / (1 - share)) ** (1 / law.B) for share in (first, last)]
    return np.geomspace(*ends, count)


def noisy(rng, law, compute, noise=NOISE):
    return law(compute) + noise * (law.A - law.R0) * rng.standard_normal(len(compute))


def measured(compute, values):
    return list(zip(map(float, compute), map(float, values), strict=True))


def test_the_law_is_its_formula():
    law = Law(A=0.8, R0=0.1, C_mid=50.0, B=1.7)
    for compute in (1.0, 50.0, 3e4):
        assert law(compute) == pytest.approx(0.1 + 0.7 / (1 + (50.0 / compute) ** 1.7))
    assert law(0.0) == 0.1
    assert law.share(50.0) == 0.5


@pytest.mark.parametrize("seed", range(4))
def test_random_curves_with_one_percent_of_noise_are_recovered(seed):
    """A within 2 % and C_mid within 10 %, each of them. The range determines these curves: 48
    points from where 5 % of the rise is done to 98 %; steepness 0.8 to 3, C_mid over 8 decades."""
    rng = np.random.default_rng(seed)
    for _ in range(25):
        law = random_law(rng)
        compute = compute_between(law, 0.05, 0.98, 48)
        found = best_law(Points(compute, noisy(rng, law, compute)))
        assert abs(found.A / law.A - 1) < 0.02
        assert abs(found.C_mid / law.C_mid - 1) < 0.10


def test_a_curve_without_noise_is_found_exactly_in_any_unit():
    law = Law(A=0.7, R0=0.15, C_mid=300.0, B=1.3)
    compute = compute_between(law, 0.05, 0.95, 12)
    for unit, scale in ((1.0, 1.0), (1e-6, 1.0), (3600.0, 250.0)):
        found = best_law(Points(compute * unit, law(compute) * scale))
        for name, factor in (("A", scale), ("R0", scale), ("C_mid", unit), ("B", 1.0)):
            assert getattr(found, name) == pytest.approx(getattr(law, name) * factor, rel=1e-4)


def test_the_error_is_the_least_of_all():
    """No law near the one that was found, nor any of many random ones, is nearer to the points."""
    rng = np.random.default_rng(0)
    law = random_law(rng)
    compute = compute_between(law, 0.02, 0.9, 20)
    values = noisy(rng, law, compute, 0.05)
    found = best_law(Points(compute, values))
    least = ((found(compute) - values) ** 2).sum()
    for _ in range(2000):
        factor = np.exp(rng.normal(0, 10 ** rng.uniform(-3, 0), 4))
        other = Law(A=found.A * factor[0], R0=found.R0 * factor[1],
                    C_mid=found.C_mid * factor[2], B=found.B * factor[3])  # fmt: skip
        assert ((other(compute) - values) ** 2).sum() >= least - 1e-9


def test_a_start_that_is_known_is_kept_and_one_at_no_compute_has_noise():
    law = Law(A=0.7, R0=0.2, C_mid=100.0, B=1.5)
    rng, compute = np.random.default_rng(1), compute_between(law, 0.3, 0.98, 30)
    points = [(0.0, 0.2), *measured(compute, noisy(rng, law, compute))]
    known = fit(points, start=0.2, count=50).numbers
    assert (known["R0"].value, known["R0"].low, known["R0"].high) == (0.2, 0.2, 0.2)
    one_of_many = fit(points, count=50).numbers
    without = fit(points[1:], count=50).numbers
    width = [each["R0"].high - each["R0"].low for each in (known, one_of_many, without)]
    assert 0 == width[0] < width[1] < width[2]


def curve(first, last):
    def make(rng, count):
        law = random_law(rng)
        compute = compute_between(law, first, last, count)
        return compute, noisy(rng, law, compute)

    return make


def line_in_log(rng, count):
    compute = np.geomspace(1.0, 10 ** rng.uniform(1, 4), count)
    share = np.linspace(0, 1, count)
    return compute, 0.2 + 0.5 * share + 0.005 * rng.standard_normal(count)


def line(rng, count):
    compute = np.linspace(1.0, 10 ** rng.uniform(1, 4), count)
    return compute, 0.2 + 0.5 * compute / compute[-1] + 0.005 * rng.standard_normal(count)


def flat(rng, count):
    return np.geomspace(1.0, 1e3, count), 0.3 + 0.02 * rng.standard_normal(count)


def falling(rng, count):
    compute, values = curve(0.05, 0.98)(rng, count)
    return compute, -values


REFUSED = {
    "a straight line in log-compute": (line_in_log, "no bend beyond the noise"),
    "a straight line": (line, "C_mid lies outside|not determined|no bend"),
    "a flat curve": (flat, "no rise beyond the noise"),
    "a falling curve": (falling, "no rise beyond the noise"),
    "half a sigmoid": (curve(0.02, 0.5), "the asymptote is not determined|C_mid lies outside"),
    "a beginning": (curve(0.02, 0.2), "not determined|C_mid lies outside|no bend"),
    "an end": (curve(0.9, 0.999), "lies outside|no bend|no rise|is not determined"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_points_do_not_determine_is_refused_with_the_reason(name):
    make, reason = REFUSED[name]
    rng = np.random.default_rng(5)
    for count in (8, 20, 40):
        for _ in range(2):
            found = fit(measured(*make(rng, count)), count=60)
            assert found.numbers is None
            assert not found.curve
            assert any(part in found.refused for part in reason.split("|")), found.refused


def test_few_points_and_a_short_range_are_refused():
    law = Law(A=0.7, R0=0.2, C_mid=100.0, B=1.5)
    few = compute_between(law, 0.05, 0.98, 5)
    assert "too few points: 5 measurements" in fit(measured(few, law(few))).refused
    again = np.repeat(few, 4)
    assert "too few points: 5" in fit(measured(again, law(again))).refused
    short = np.linspace(100.0, 170.0, 30)
    assert "too little range: the largest compute is 1.70" in fit(measured(short, short)).refused
    assert "too few points: 0" in fit([]).refused


def test_intervals_hold_the_value_and_the_band_the_curve():
    law = Law(A=0.7, R0=0.2, C_mid=100.0, B=1.5)
    rng = np.random.default_rng(0)
    compute = compute_between(law, 0.05, 0.98, 30)
    points = measured(compute, noisy(rng, law, compute))
    found = fit(points, count=60)
    for name, known in found.numbers.items():
        assert known.low < known.value < known.high
        assert known.low <= getattr(law, name) * 1.02
        assert known.high >= getattr(law, name) * 0.98
    spent, middle, low, high = np.array(found.curve).T
    assert spent[0] == pytest.approx(compute[0])
    assert spent[-1] == pytest.approx(4 * compute[-1])
    assert (low < middle).all()
    assert (middle < high).all()
    assert found == fit(points[::-1], count=60), "neither chance nor the order of points decides"


def test_intervals_grow_with_the_noise_and_with_its_memory(monkeypatch):
    law, rng = Law(A=0.7, R0=0.2, C_mid=100.0, B=1.5), np.random.default_rng(3)
    compute = compute_between(law, 0.05, 0.98, 40)
    noise = rng.standard_normal((1, 40))

    def width(errors):
        points = Points(compute, law(compute) + errors)
        known = replicates(points, best_law(points), 60).intervals()["A"]
        return known.high - known.low

    assert width(0.01 * noise[0]) == pytest.approx(2 * width(0.005 * noise[0]), rel=0.2)
    remembering = 0.005 * _remembering(noise, 0.8)[0]
    wide = width(remembering)
    monkeypatch.setattr("ralo_server.scaling.intervals._memory", lambda errors, free: 0.0)
    assert wide > 1.3 * width(remembering)


def test_the_memory_of_errors_is_found_in_them():
    rng = np.random.default_rng(0)
    for memory in (0.0, 0.4, 0.8):
        noise = _remembering(rng.standard_normal((200, 400)), memory)
        assert np.std(noise) == pytest.approx(1.0, rel=0.05)
        assert _memory(noise[0], 4) == pytest.approx(memory, abs=0.12)
