"""The names of metrics: what ``metrics = ["pass@4", "maj@k"]`` means, and what is no metric.

`BenchmarkSettings` refuses wrong names before a run begins; `ralo_server.evaluation` computes what
the names say.
"""

import re
from typing import Any

import attrs

from ralo_core.errors import nearest

OVER_SAMPLES = ("mean", "pass", "maj")
"""Metrics of the first k responses, written ``mean@4``; ``mean@k`` is of all."""
OF_FIRST = ("accuracy", "exact_match", "multiple_choice")
"""Metrics of the first response alone."""

_OVER_SAMPLES = re.compile(rf"({'|'.join(OVER_SAMPLES)})@(k|[1-9][0-9]*)")
_FUNCTION = re.compile(r"[\w.]+:\w+")


@attrs.frozen(kw_only=True)
class Metric:
    """One metric: `kind` is a word of `OVER_SAMPLES` or `OF_FIRST`, or ``function``; `k` says how
    many responses to an item it sees (0: all that there are)."""

    name: str
    kind: str
    k: int

    def of(self, samples: int) -> "Metric":
        """Return the metric where an item has so many responses, with `k` filled in.

        Raises `ValueError` where it asks for more than these.
        """
        if self.k > samples:
            msg = f"{self.name} needs {self.k} samples of each item, but samples is {samples}"
            raise ValueError(msg)
        if self.k or self.kind == "function":
            return self
        return attrs.evolve(self, name=f"{self.kind}@{samples}", k=samples)


def parse_metric(name: str) -> Metric:
    """Return the metric of a name; raises `ValueError` with the nearest one for an unknown one."""
    if name in OF_FIRST:
        return Metric(name=name, kind=name, k=1)
    if match := _OVER_SAMPLES.fullmatch(name):
        return Metric(name=name, kind=match[1], k=0 if match[2] == "k" else int(match[2]))
    if _FUNCTION.fullmatch(name):
        return Metric(name=name, kind="function", k=0)
    count = name.partition("@")[2]
    count = count if re.fullmatch("[1-9][0-9]*", count) else "k"
    known = [*OF_FIRST, *(f"{kind}@{count}" for kind in OVER_SAMPLES)]
    msg = (
        f"there is no metric {name!r}{nearest(name.lower(), known)}; known: "
        f"{', '.join(OF_FIRST)}, {', '.join(f'{kind}@k' for kind in OVER_SAMPLES)} (k: a number, "
        "or the letter for all samples), or 'module:function'"
    )
    raise ValueError(msg)


def metric_names(_: Any, attribute: "attrs.Attribute[Any]", names: list[str]) -> None:
    """Refuse, as a validator of settings, a list with a name of no metric, and an empty one."""
    if not names:
        msg = "name at least one metric, e.g. 'accuracy'"
        raise ValueError(msg)
    for name in names:
        parse_metric(name)
