"""One run of the chaos test: start all, injure, heal, drain, stop; then everybody is audited."""

import time

import attrs
from patience import PATIENCE

from chaos.content import write_model
from chaos.crew import Crew
from chaos.faults import Killer
from chaos.orchestrator import Orchestrator
from chaos.proxy import Proxy
from ralo_core.client import Backoff, Client

SETTINGS = (
    "learner.dtype=float32", "learner.gradients_per_step=2", "learner.keep_last_versions=2",
    "optimizer.adamw.lr=0.01", "trainer.batch_trees=3", "evaluation.problems=4",
    "evaluation.every_steps=5", "server.lease_seconds=3", "server.queued_trees=24",
    "server.restart_limit=0", "server.min_free_mb=0", "server.max_norm_ratio=0",
)  # fmt: skip
SIZES = {"sampler": 3, "trainer": 3}
_STRETCH = 8


@attrs.frozen(kw_only=True)
class Injuries:
    """What was done to the run, and how it bore it."""

    kills: dict
    network: dict
    restarts: int
    seconds: float
    memory: dict
    failed_workers: list


class ChaosRun:
    """A run in `folder` that is injured `kills` times, one every `pause` seconds on average."""

    def __init__(self, folder, kills, seed, pause=0.5):
        self.folder, self.kills, self.pause = folder, kills, pause
        self.run_dir, self.journals = folder / "run", folder / "journals"
        self.journals.mkdir()
        self.settings = (f"run.model={write_model(folder / 'model')}", *SETTINGS)
        self.orchestrator = Orchestrator(self.run_dir, self.settings, folder / "serve.log")
        self.proxy = Proxy(self.orchestrator.port, seed)
        self.crew = Crew(SIZES, self.proxy.url, self.journals)
        self.killer = Killer(self.orchestrator, self.crew, seed)
        self.client = Client(
            self.orchestrator.url, "chaos", backoff=Backoff(first=0.05, cap=0.5, deadline=PATIENCE)
        )

    def execute(self):
        """Run to the end; return what was done and the last ``/stats``."""
        started = time.monotonic()
        try:
            self._injure()
            self._kill_after_each_step()
            self._heal()
            stats = self._drain()
            assert self.orchestrator.stop() == 0
        finally:
            self.crew.end()
            self.proxy.close()
            self.orchestrator.end()
        return Injuries(
            kills=dict(self.killer.counts),
            network=dict(self.proxy.counts),
            restarts=self.orchestrator.starts - 1,
            seconds=time.monotonic() - started,
            memory=self.orchestrator.memory,
            failed_workers=self.crew.failed,
        ), stats

    def _kill_after_each_step(self):
        """Kill the learner behind every step of a stretch: what a commit leaves out, if only at
        some steps, is missed by whoever starts from it, and the replay has other weights."""
        step = self.client.health().version
        for _ in range(_STRETCH):
            since = time.monotonic()
            while (reached := self.client.health().version) == step:
                assert time.monotonic() - since < PATIENCE, f"no step since step {step}"
                self.crew.keep_up()
                time.sleep(0.01)
            step = reached
            self.killer.counts["learner"] += self.orchestrator.kill("learner")

    def _injure(self):
        step, since = 0, time.monotonic()
        while self.killer.counts.total() < self.kills:
            time.sleep(self.killer.dice.uniform(0, 2 * self.pause))
            if step:  # once everybody has got going
                self.killer.kill_one()
            self.orchestrator.keep_up()
            self.crew.keep_up()
            self.orchestrator.note_memory()
            reached = self.client.stats().step
            if reached > step:
                step, since = reached, time.monotonic()
            assert time.monotonic() - since < PATIENCE, f"no step since step {step}"

    def _heal(self):
        """Kill everything once more and start it again: what was left half done is cleared."""
        self.proxy.calm = True
        self.orchestrator.kill("serve")
        self.orchestrator.keep_up()
        self.crew.keep_up()

    def _drain(self):
        self.client.stop()
        deadline = time.monotonic() + PATIENCE
        while not self.crew.all_done():
            stats = self.client.stats()
            assert time.monotonic() < deadline, f"the drain does not end: {stats}"
            self.crew.keep_up()
            time.sleep(0.1)
        return self.client.stats()
