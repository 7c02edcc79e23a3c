"""One sentence: what limits the run, and which knob moves it.

The rule looks at who waits: if trainers wait, samplers are too slow, and the other way round.
"""

from ralo.run.stats import History, Stats

_WAITING = 0.3
_FULL = 0.9
_IDLE = 0.5
_SOMETIMES = 0.1
_SILENT_BATCHES = 3


def bottleneck(history: History) -> str:
    """Return the sentence for the current state of the run."""
    stats = history.latest
    silence = _silence(stats) if stats else ""
    if silence:
        return (
            f"{silence}, because all rollouts of a problem had the same reward; check the reward, "
            "or use problems that are sometimes solved"
        )
    if not stats or stats["step"] == 0:
        return _starting(history)
    if stats["state"] != "running":
        return f"the run is {stats['state']}: no new problems are handed out"
    if missing := _missing(stats):
        return (
            f"no {' and no '.join(missing)} is connected: start one (ralo sample and ralo train), "
            "or look into the logs why they ended"
        )
    pending, needed = stats["gradients"]["pending"], stats["gradients_per_step"]
    if pending > 2 * needed:
        return (
            f"learner-bound: {pending} gradients wait for a step of {needed}; raise "
            "learner.threads or learner.gradients_per_step"
        )
    return _by_waiting(history)


def _silence(stats: Stats) -> str:
    """Return since when there has been nothing to learn from, ``""`` if there has been."""
    trees, batches = stats["trees"], stats["batches"]
    if batches["empty"] >= _SILENT_BATCHES:
        return f"no signal: the last {batches['empty']} batches gave no gradient"
    under_way = batches["leased"] or stats["gradients"]["pending"]
    skipped, queued, needed = trees["skipped_since_step"], trees["queued"], stats["batch_trees"]
    if under_way or queued >= needed or skipped < _SILENT_BATCHES * needed:
        return ""
    if queued:
        return (
            f"little signal: {skipped} trees were skipped since the last step, {queued} of "
            f"{needed} for the next batch are there"
        )
    return f"no signal: all {skipped} trees since the last step were skipped"


def _by_waiting(history: History) -> str:
    trees = history.latest["trees"]
    fill = trees["queued"] / max(1, trees["capacity"])
    trainers, samplers = history.waiting_share("trainer"), history.waiting_share("sampler")
    if trainers is not None and trainers > max(_WAITING, samplers or 0.0):
        return (
            f"sampler-bound: trainers wait {trainers:.0%} of the time, the queue is {fill:.0%} "
            f"full; {_what_helps_samplers(history)}"
        )
    waits = samplers is not None and samplers > _WAITING
    if waits and trainers and trainers > _SOMETIMES and fill < _FULL and _queue_is_taken(history):
        return (
            f"queue-bound: samplers wait {samplers:.0%} of the time and trainers {trainers:.0%}; "
            "the queue has no room for more problems, raise server.queued_trees"
        )
    if fill >= _FULL or waits:
        waiting = f"samplers wait {samplers:.0%} of the time, " if samplers else ""
        return (
            f"trainer-bound: {waiting}the queue is {fill:.0%} full; add a trainer (--trainers), "
            "raise trainer.threads or lower --samplers"
        )
    return f"balanced: neither samplers nor trainers wait long, the queue is {fill:.0%} full"


def _queue_is_taken(history: History) -> bool:
    """Say whether leased problems and queued trees take all the room of the queue."""
    problems, trees = history.latest["problems"], history.latest["trees"]
    return bool(problems["leased"] + trees["queued"] >= _FULL * trees["capacity"])


def _what_helps_samplers(history: History) -> str:
    used = history.utilisation()
    if used is None or used >= _IDLE:
        return "add a sampler (--samplers) or give it more sampler.threads"
    if _queue_is_taken(history):
        return f"engines are {used:.0%} full, the queue has no room; raise server.queued_trees"
    return f"engines are {used:.0%} full; raise sampler.problems_in_flight or look at slow rewards"


def _missing(stats: Stats) -> list[str]:
    """Return the roles that no living worker has."""
    roles = {worker["role"] for worker in stats.get("workers", ()) if worker["alive"]}
    return [role for role in ("sampler", "trainer") if role not in roles]


def _starting(history: History) -> str:
    if missing := _missing(history.latest):
        return f"starting: waiting for a {' and a '.join(missing)}"
    if history.latest.get("trees", {}).get("trained", 0) == 0:
        return "starting: the first rollouts are being sampled and trained on"
    return "starting: the first optimizer step is being taken"
