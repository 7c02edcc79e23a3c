"""The learner's loop: pending gradients -> aggregate -> optimizer step -> new version -> commit.

A step is durable through one transaction. Before it, the new optimizer state and the new
version are whole folders that nothing points at; after it, the old ones are. A process killed
anywhere starts again from what the last transaction points at and removes the rest.

Neighbours: `Store` tells what is pending and takes the commit, `Master` is stepped,
`Publisher` writes versions, trackers and plugins are told afterwards.
"""

import itertools
import json
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ralo_core.components import BuildContext
from ralo_core.config import EvaluationSettings, LearnerSettings
from ralo_core.plugins import PluginHost
from ralo_core.supervise import StopSignal
from ralo_server.blobs import new_directory, write_blob
from ralo_server.gradient_checks import PARAMETERS
from ralo_server.learner.aggregate import weighted_sum
from ralo_server.learner.clock import Clock
from ralo_server.learner.master import Master
from ralo_server.learner.publishing import Publisher
from ralo_server.learner.step_metrics import gradient_metrics, tree_metrics
from ralo_server.store import Store
from ralo_server.store.facts import get_fact, put_fact
from ralo_server.store.gradients import PendingGradient
from ralo_server.store.run_state import DRAINING, FINISHED, RUNNING

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.01


class Learner:
    """The learner of the run in `store`; `host` gets the events."""

    def __init__(self, store: Store, host: PluginHost) -> None:
        self.store = store
        self.host = host
        self.config = store.config
        self.settings = self.config.section(LearnerSettings)
        context = BuildContext(role="learner", run_dir=store.directory.root)
        self.aggregation = self.config.build("aggregation", context)
        self.codec = self.config.build("codec", context)
        self.policy = self.config.build("optimizer", context)
        self.trackers = self.config.build_pipeline("trackers", context)
        dtype = getattr(torch, self.settings.dtype)
        self.publisher = Publisher(store.directory.model, dtype)
        self.clock = Clock(store)

    def run(self, stopped: StopSignal) -> None:
        """Work until the run is finished or `stopped`."""
        self._open()
        while not stopped:
            state = self.store.run.advance()
            self._tell_trackers()
            if state == FINISHED:
                self._finish()
                return
            gradients = self._due(state)
            if gradients:
                self._step(gradients)
            else:
                time.sleep(_PAUSE_SECONDS)
            self.clock.keep()
        self._close_trackers()

    def _open(self) -> None:
        """Restore the last committed step, or publish the model as version 0."""
        directory, run = self.store.directory, self.store.run
        committed = get_fact(self.store.database, "optimizer", "")
        if committed:
            self.master = Master.restore(directory.optimizer / committed, self.policy)
        else:
            model = Path(self.config.data["run"]["model"])
            self.master = Master.of_model(model, self.policy)
        shapes = json.dumps(self.master.shapes()).encode()
        write_blob(directory.weights / PARAMETERS, shapes)
        self._remove_uncommitted(committed)
        if self.store.versions.newest_number() < 0:
            self._publish_first()
        run.reopen()
        log.info("at step %d, version %d", run.step(), self.store.versions.newest_number())
        name = get_fact(self.store.database, "run", "")
        self.host.notify("ralo_run_started", run=name, config=self.config.data)

    def _publish_first(self) -> None:
        target = self.store.versions.directory(0)
        version = self.publisher.write(target, 0, self.master.parameters, self.master.constants)
        with self.store.database.write() as connection:
            self.store.versions.add(connection, version, 0)
            if self.config.section(EvaluationSettings).problems:
                self.store.evaluations.schedule(connection, 0)
        self.host.notify("ralo_weights_published", version=0, directory=str(target))

    def _due(self, state: str) -> Sequence[PendingGradient]:
        """Return the gradients of the next step, none if it is not due."""
        if state not in (RUNNING, DRAINING):
            return ()
        pending = self.store.gradients.pending()[: self.settings.gradients_per_step]
        if len(pending) == self.settings.gradients_per_step:
            return pending
        return pending if state == DRAINING and not self.store.trees.unfinished() else ()

    def _step(self, gradients: Sequence[PendingGradient]) -> None:
        started = time.monotonic()
        step, version = self.store.run.step() + 1, self.store.versions.newest_number()
        coefficients = self.aggregation.coefficients([g.facts for g in gradients], version)
        terms = [(g.path, c) for g, c in zip(gradients, coefficients, strict=True)]
        self.master.set_gradients(weighted_sum(terms, self.master.shapes(), self.codec))
        norm, learning_rate = self.master.step(step)
        empty = self.store.steps.empty_batches()
        trees = {g.batch_id: self.store.steps.trees_of(g.batch_id) for g in gradients}
        more = [tree for batch in empty for tree in self.store.steps.trees_of(batch)]
        metrics = {
            "step": step,
            "version": version + 1,
            **tree_metrics([tree for batch in trees.values() for tree in batch] + more),
            **gradient_metrics(gradients, trees, version),
            "grad_norm": norm,
            "learning_rate": learning_rate,
            "time": time.time(),
            "elapsed_seconds": self.clock.elapsed(),
            "step_seconds": time.monotonic() - started,
        }
        self._commit(step, version + 1, gradients, empty, metrics)

    def _commit(
        self,
        step: int,
        version: int,
        gradients: Sequence[PendingGradient],
        empty: Sequence[str],
        metrics: dict[str, float],
    ) -> None:
        name = f"step-{step:06d}"
        with new_directory(self.store.directory.optimizer / name) as folder:
            self.master.save(folder)
        target = self.store.versions.directory(version)
        published = self.publisher.write(
            target, version, self.master.parameters, self.master.constants
        )
        every = self.config.section(EvaluationSettings).every_steps
        evaluate = bool(every) and step % every == 0
        self.store.steps.commit(step, published, name, gradients, empty, metrics, evaluate)
        self.host.notify("ralo_step_committed", step=step, metrics=metrics)
        self.host.notify("ralo_weights_published", version=version, directory=str(target))
        self._clean(name, gradients)

    def _clean(self, optimizer: str, gradients: Sequence[PendingGradient]) -> None:
        """Remove what the commit made superfluous."""
        for gradient in gradients:
            gradient.path.unlink(missing_ok=True)
        self.store.trees.delete_trained()
        for number in self.store.versions.prune(self.settings.keep_last_versions):
            shutil.rmtree(self.store.versions.directory(number), ignore_errors=True)
        self._remove_other_optimizers(optimizer)

    def _remove_uncommitted(self, optimizer: str) -> None:
        """Remove what a killed process left behind."""
        self._remove_other_optimizers(optimizer)
        versions = self.store.versions
        known = {versions.directory(number).name for number in range(versions.newest_number() + 1)}
        for folder in self.store.directory.weights.glob("v*"):
            if folder.name not in known:
                shutil.rmtree(folder)

    def _remove_other_optimizers(self, optimizer: str) -> None:
        for folder in self.store.directory.optimizer.iterdir():
            if folder.name != optimizer:
                shutil.rmtree(folder)

    def _tell_trackers(self) -> None:
        steps = self.store.steps
        for step, metrics in itertools.chain(steps.untracked(), steps.untracked_evaluations()):
            for tracker in self.trackers.values():
                tracker.log(step, metrics)

    def _finish(self) -> None:
        step = self.store.run.step()
        log.info("the run is finished after %d steps", step)
        name = get_fact(self.store.database, "run", "")
        with self.store.database.write() as connection:
            put_fact(connection, "last_error", "")
        self.host.notify("ralo_run_finished", run=name, step=step)
        self._close_trackers()

    def _close_trackers(self) -> None:
        for tracker in self.trackers.values():
            tracker.close()
