"""The workers of a run as a table: who is there, how fast, how busy."""

from rich.table import Table

from ralo.run.stats import Stats

_STYLES = {"alive": "", "left": "dim", "lost": "red"}


def worker_table(stats: Stats, *, hosts: bool = False) -> Table:
    """Return a row per worker, with the name of its machine if `hosts`."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("worker", no_wrap=True, overflow="ellipsis")
    table.add_column("role", no_wrap=True)
    if hosts:
        table.add_column("host", no_wrap=True)
    for heading in ("version", "seen", "tok/s", "busy", "full", "cached", "pause"):
        table.add_column(heading, justify="right", no_wrap=True)
    for worker in stats["workers"]:
        host = (worker["host"],) if hosts else ()
        cells = (worker["id"], worker["role"], *host, str(worker["version"]), _seen(worker))
        table.add_row(*cells, *_use(worker), style=_STYLES[worker["state"]])
    return table


def _seen(worker: Stats) -> str:
    ago = f"{worker['seen_seconds_ago']:.0f} s"
    return ago if worker["alive"] else f"{worker['state']} {ago}"


def _use(worker: Stats) -> tuple[str, ...]:
    """Return tokens per second and the share of time at work; of samplers also how full the engine
    is and how much of the prompts was cached; how long it last stood still for new weights."""
    engine, weights = worker.get("engine"), worker.get("weights")
    total = worker["working_seconds"] + worker["waiting_seconds"]
    return (
        f"{tokens_per_second(worker):,.0f}" if worker["tokens"] else "",
        f"{worker['working_seconds'] / total:.0%}" if total else "",
        f"{engine['utilisation']:.0%}" if engine else "",
        f"{engine['cache_hits']:.0%}" if engine else "",
        f"{weights['last_pause_seconds']:.2f} s" if weights else "",
    )


def tokens_per_second(worker: Stats) -> float:
    """Return what a sampler decoded in the last seconds; of a trainer, which has its tokens in
    batches, the mean since its start of those it trained on."""
    if "engine" in worker:
        return float(worker["engine"]["tokens_per_second"])
    total = worker["working_seconds"] + worker["waiting_seconds"]
    return float(worker["tokens"] / total) if total else 0.0
