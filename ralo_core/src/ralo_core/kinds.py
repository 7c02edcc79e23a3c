"""The one list of component kinds: name, register hook, config section and how it is chosen.

Neighbours: `registry` collects by it, `config` lays out its sections by it, ``ralo plugins``
prints by it. A kind that is missing here does not exist anywhere.
"""

import attrs

from ralo_core import protocols


@attrs.frozen(kw_only=True)
class Kind:
    """A kind of component. `section` is its config section (None: the config never names it),
    `many` says that the config lists a pipeline instead of choosing one with ``use``."""

    name: str
    hook: str
    section: str | None
    many: bool = False
    protocol: type | None = None


def _kind(
    name: str, plural: str, section: str | None, protocol: type | None, many: bool = False
) -> Kind:
    return Kind(
        name=name, hook=f"ralo_register_{plural}", section=section, many=many, protocol=protocol
    )


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("problem_provider", "problem_providers", "problems", protocols.ProblemProvider),
        _kind("sampling_algorithm", "sampling_algorithms", "sampling", protocols.SamplingAlgorithm),
        _kind("reward", "rewards", "reward", protocols.Reward, many=True),
        _kind(
            "advantage_estimator", "advantage_estimators", "advantage", protocols.AdvantageEstimator
        ),
        _kind("loss", "losses", "loss", protocols.Loss),
        _kind("correction", "corrections", "correction", protocols.Correction, many=True),
        _kind("aggregator", "aggregators", "aggregation", protocols.Aggregator),
        _kind("optimizer", "optimizers", "optimizer", protocols.OptimizerFactory),
        _kind("inference_engine", "inference_engines", "engine", protocols.InferenceEngine),
        _kind("gradient_codec", "gradient_codecs", "codec", protocols.GradientCodec),
        _kind("benchmark", "benchmarks", "benchmarks", protocols.Benchmark, many=True),
        _kind("tracker", "trackers", "trackers", protocols.Tracker, many=True),
        _kind("recipe", "recipes", None, None),
        _kind("command", "commands", None, None),
    )
}

SECTIONS: dict[str, Kind] = {kind.section: kind for kind in KINDS.values() if kind.section}
"""Component kinds by their config section."""
