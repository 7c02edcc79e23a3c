"""One sentence: what limits the run, and which knob moves it.

The rule looks at who waits: if trainers wait, samplers are too slow, and the other way round. It is
here, and not in a view, because it needs the time before the moment, and because the terminal and
the dashboard must say the same.
"""

from ralo_core.access import SAMPLER, TRAINER
from ralo_core.messages.stats import RunStats
from ralo_server.store.run_state import RUNNING
from ralo_server.web.live.waiting_window import Waiting

_WAITING = 0.3
_FULL = 0.9
_IDLE = 0.5
_SOMETIMES = 0.1
_SILENT_BATCHES = 3
_ROLES = (SAMPLER, TRAINER)


def bottleneck(stats: RunStats, samplers: Waiting, trainers: Waiting) -> str:
    """Return the sentence for a state, given how samplers and trainers have waited."""
    if silence := _silence(stats):
        return (
            f"{silence}, because all rollouts of a problem had the same reward; check the reward, "
            "or use problems that are sometimes solved"
        )
    if stats.state != RUNNING:
        return f"the run is {stats.state}: no new problems are handed out"
    if stats.step == 0:
        return _starting(stats)
    if missing := _missing(stats):
        return (
            f"no {' and no '.join(missing)} is connected: start one (ralo sample and ralo train), "
            "or look into the logs why they ended"
        )
    pending, needed = stats.gradients.pending, stats.gradients_per_step
    if pending > 2 * needed:
        return (
            f"learner-bound: {pending} gradients wait for a step of {needed}; raise "
            "learner.threads or learner.gradients_per_step"
        )
    return _by_waiting(stats, samplers, trainers)


def _silence(stats: RunStats) -> str:
    """Return since when there has been nothing to learn from, ``""`` if there has been."""
    trees, batches = stats.trees, stats.batches
    if batches.empty >= _SILENT_BATCHES:
        return f"no signal: the last {batches.empty} batches gave no gradient"
    under_way = batches.leased or stats.gradients.pending
    skipped, queued, needed = trees.skipped_since_step, trees.queued, stats.batch_trees
    if under_way or queued >= needed or skipped < _SILENT_BATCHES * needed:
        return ""
    if queued:
        return (
            f"little signal: {skipped} trees were skipped since the last step, {queued} of "
            f"{needed} for the next batch are there"
        )
    return f"no signal: all {skipped} trees since the last step were skipped"


def _starting(stats: RunStats) -> str:
    if missing := _missing(stats):
        return f"starting: waiting for a {' and a '.join(missing)}"
    if stats.trees.trained == 0:
        return "starting: the first rollouts are being sampled and trained on"
    return "starting: the first optimizer step is being taken"


def _missing(stats: RunStats) -> list[str]:
    """Return the roles that no living worker has."""
    roles = {worker.role for worker in stats.workers if worker.alive}
    return [role for role in _ROLES if role not in roles]


def _by_waiting(stats: RunStats, samplers: Waiting, trainers: Waiting) -> str:
    fill = stats.trees.queued / max(1, stats.trees.capacity)
    if fill >= _FULL:
        return _at_a_full_queue(fill, samplers, trainers)
    sampler_share, trainer_share = samplers.share or 0.0, trainers.share or 0.0
    if trainer_share > max(_WAITING, sampler_share):
        return (
            f"sampler-bound: trainers wait {trainer_share:.0%} of the time, the queue is "
            f"{fill:.0%} full; {_what_helps_samplers(stats)}"
        )
    if sampler_share <= _WAITING:
        return f"balanced: neither samplers nor trainers wait long, the queue is {fill:.0%} full"
    if trainer_share > _SOMETIMES and _queue_is_taken(stats):
        return (
            f"queue-bound: samplers wait {sampler_share:.0%} of the time and trainers "
            f"{trainer_share:.0%}; the queue has no room for more problems, raise "
            "server.queued_trees"
        )
    return _trainer_bound(fill, sampler_share)


def _at_a_full_queue(fill: float, samplers: Waiting, trainers: Waiting) -> str:
    """Return what to do where there are more trees than are trained on: never to add a sampler.

    Trainers that wait nonetheless do not wait for trees. Only a recent share tells: since their
    start they have also waited for the first trees.
    """
    if trainers.recent and trainers.share is not None and trainers.share > _WAITING:
        return (
            f"upload-bound: trainers wait {trainers.share:.0%} of the time, but not for trees, the "
            f"queue is {fill:.0%} full; see whether uploads of gradients or the learner are slow"
        )
    return _trainer_bound(fill, samplers.share or 0.0)


def _trainer_bound(fill: float, sampler_share: float) -> str:
    waiting = f"samplers wait {sampler_share:.0%} of the time, " if sampler_share else ""
    return (
        f"trainer-bound: {waiting}the queue is {fill:.0%} full; add a trainer (--trainers), "
        "raise trainer.threads or lower --samplers"
    )


def _queue_is_taken(stats: RunStats) -> bool:
    """Say whether leased problems and queued trees take all the room of the queue."""
    return stats.problems.leased + stats.trees.queued >= _FULL * stats.trees.capacity


def _what_helps_samplers(stats: RunStats) -> str:
    used = _utilisation(stats)
    if used is None or used >= _IDLE:
        return "add a sampler (--samplers) or give it more sampler.threads"
    if _queue_is_taken(stats):
        return f"engines are {used:.0%} full, the queue has no room; raise server.queued_trees"
    return f"engines are {used:.0%} full; raise sampler.problems_in_flight or look at slow rewards"


def _utilisation(stats: RunStats) -> float | None:
    """Return how full the engines of living samplers are on average, None where unknown."""
    engines = stats.engines()
    places = sum(engine.capacity for engine in engines)
    used = sum(engine.utilisation * engine.capacity for engine in engines)
    return used / places if places else None
