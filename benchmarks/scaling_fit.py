"""How well a scaling law is recovered: ours against Adam on raw compute, and whether our intervals
cover the truth as often as they say.

Random curves with noise of 1 % of their rise, 48 points from where 5 % of the rise is done to
98 %; both are given the same points. Then intervals of curves with fewer points and more noise,
without memory and with (`ralo_server.scaling.intervals`).

    python benchmarks/scaling_fit.py [CURVES]
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from contestants.adam_on_compute import adam_law

from ralo_server.scaling.fit import fit
from ralo_server.scaling.intervals import _remembering, replicates
from ralo_server.scaling.law import Law, Values
from ralo_server.scaling.least_squares import Points, best_law

NOISE, POINTS, SHARES = 0.01, 48, (0.05, 0.98)
COVERAGE = ((12, 0.02, 0.0), (48, 0.02, 0.0), (48, 0.02, 0.6))
"""Points, noise in parts of the rise, memory of the noise."""


def random_law(random: np.random.Generator) -> Law:
    """Return a law like that of an accuracy, whose C_mid is anything from minutes to years."""
    start = random.uniform(0.0, 0.3)
    rise = random.uniform(0.2, 0.7)
    middle, steepness = 10 ** random.uniform(1.0, 6.0), random.uniform(0.8, 3.0)
    return Law(A=start + rise, R0=start, C_mid=middle, B=steepness)


def draw(
    random: np.random.Generator, count: int, noise: float, memory: float = 0.0
) -> tuple[Law, Values, Values]:
    """Return a law, compute and the values measured there."""
    law = random_law(random)
    ends = [law.C_mid * (share / (1 - share)) ** (1 / law.B) for share in SHARES]
    compute = np.geomspace(*ends, count)
    errors = _remembering(random.standard_normal((1, count)), memory)[0]
    return law, compute, law(compute) + noise * (law.A - law.R0) * errors


def recovery(curves: int) -> None:
    """Print the errors of both on the same curves."""
    ways: dict[str, Callable[[Values, Values], Law]] = {
        "ours": lambda compute, values: best_law(Points(compute, values)),
        "Adam on raw compute": adam_law,
    }
    print(f"{curves} curves, {NOISE:.0%} noise: relative errors, median / 95 % / largest")
    for name, way in ways.items():
        random, errors, started = np.random.default_rng(0), [], time.perf_counter()
        for _ in range(curves):
            law, compute, values = draw(random, POINTS, NOISE)
            found = way(compute, values)
            errors.append([abs(found.A / law.A - 1), abs(found.C_mid / law.C_mid - 1)])
        seconds = (time.perf_counter() - started) / curves
        columns = [
            f"{what} " + " / ".join(f"{value:.2%}" for value in np.quantile(column, (0.5, 0.95, 1)))
            for what, column in zip(("A", "C_mid"), np.array(errors).T, strict=True)
        ]
        print(f"  {name:20} {columns[0]:32} {columns[1]:36} {1000 * seconds:6.0f} ms a curve")


def coverage(curves: int) -> None:
    """Print how often the truth lies in the intervals, which are to hold it 95 times of 100."""
    print(f"\n95 % intervals of {curves} curves each hold the truth of")
    for count, noise, memory in COVERAGE:
        random, held = np.random.default_rng(1), dict.fromkeys(("A", "R0", "C_mid", "B"), 0)
        for seed in range(curves):
            law, compute, values = draw(random, count, noise, memory)
            points = Points(compute, values)
            known = replicates(points, best_law(points), 200, seed).intervals()
            for name in held:
                held[name] += known[name].low <= getattr(law, name) <= known[name].high
        shares = ", ".join(f"{name} {share / curves:.0%}" for name, share in held.items())
        print(f"  {count} points, {noise:.0%} noise, memory {memory}: {shares}")


def refusals(curves: int) -> None:
    """Print how many curves of the first table are refused, though they can be known."""
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(curves):
        _, compute, values = draw(random, POINTS, NOISE)
        refused += fit(list(zip(compute, values, strict=True)), count=50).numbers is None
    print(f"\nof {curves} curves of the first table {refused} are refused")


def main() -> None:
    """Print three tables."""
    curves = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    torch.set_num_threads(1)
    recovery(curves)
    refusals(curves // 2)
    coverage(curves // 2)


if __name__ == "__main__":
    main()
