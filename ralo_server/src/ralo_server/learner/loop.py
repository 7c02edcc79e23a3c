"""The learner's loop: pending gradients -> aggregate -> optimizer step -> new version -> commit.

A step is durable through one transaction, which names the new version and the gradients that it
was made with. The optimizer state is durable through a checkpoint, every few steps, and these
gradients: a process killed anywhere takes the steps after the checkpoint again (`recovery`).
Trackers and plugins are told of a step after it is committed, and cannot undo it.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ralo_core.components import BuildContext
from ralo_core.config import LearnerSettings, LoraSettings, RunSettings, WeightsSettings
from ralo_core.plugins import PluginHost
from ralo_core.protocols import ScalingOptimizerFactory
from ralo_core.supervise import StopSignal
from ralo_server.gradients.parameters import write_parameter_shapes
from ralo_server.learner.clock import Clock
from ralo_server.learner.compute import LearnerCompute
from ralo_server.learner.publish.object_store_uploads import ObjectStoreUploads
from ralo_server.learner.publish.publisher import Publisher
from ralo_server.learner.retention import Retention
from ralo_server.learner.state.checkpoints import Checkpoints
from ralo_server.learner.state.folders import OptimizerFolders
from ralo_server.learner.state.recovery import Recovery
from ralo_server.learner.step.metrics import (
    Tree,
    averaged_metrics,
    gradient_metrics,
    throughput,
    tree_metrics,
    tree_totals,
)
from ralo_server.learner.step.step_files import NotFiniteError, StepFiles, WrittenStep
from ralo_server.learner.tracking.trackers import Tracking
from ralo_server.models.object_store import ObjectStore
from ralo_server.store import Store
from ralo_server.store.gradients import PendingGradient
from ralo_server.store.run_state import DRAINING, FINISHED, RUNNING

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.01


class Learner:
    """The learner of the run in `store`; `host` gets the events.

    `run` is the whole of it. Its stages can be called one by one: `open`, then any number of times
    ``step(due())``, then `finish` or `close`.
    """

    def __init__(self, store: Store, host: PluginHost) -> None:
        self.store = store
        self.host = host
        self.config = store.config
        self.settings = self.config.section(LearnerSettings)
        context = BuildContext(role="learner", run_dir=store.directory.root)
        self.aggregator = self.config.build("aggregation", context)
        self.optimizer_factory = self.config.build("optimizer", context)
        self.trackers = Tracking(store, context)
        self.publisher = Publisher.of_run(store.directory, self.config)
        folders = OptimizerFolders(store.directory.optimizer, store.directory.working)
        self.files = StepFiles(
            aggregator=self.aggregator,
            codec=self.config.build("codec", context),
            optimizer_factory=self.optimizer_factory,
            publisher=self.publisher,
            folders=folders,
        )
        self.checkpoints = Checkpoints(store, self.settings, folders)
        self.retention = Retention(store, self.settings, folders)
        self.clock = Clock(store)
        self.compute = LearnerCompute(store.compute)
        where = self.config.section(WeightsSettings).store
        self.object_store_uploads = (
            ObjectStoreUploads(store.parts, ObjectStore(where)) if where else None
        )
        self._commit_seconds: dict[str, float] = {}
        self.left_behind = False
        """Whether a tracker still hangs after the end."""

    def run(self, stopped: StopSignal) -> None:
        """Work until the run is finished or `stopped`."""
        self.open()
        while not stopped:
            state = self.store.run.advance()
            self.trackers.tell()
            if state == FINISHED:
                self.finish()
                return
            gradients = self.due(state)
            if gradients:
                with self.compute.working():
                    self.step(gradients)
            elif self.checkpoints.ready():
                self.settle()
            else:
                time.sleep(_PAUSE_SECONDS)
            self.clock.keep()
            self.compute.keep()
        self.close()

    def open(self) -> None:
        """Restore the last committed step, or publish the model as version 0."""
        directory, run = self.store.directory, self.store.run
        self.retention.at_start()
        lora = self.config.section(LoraSettings).rank
        model = directory.adapter if lora else Path(self.config.section(RunSettings).model)
        recovery = Recovery(self.store, self.files)
        self.master = recovery.restore(model)
        # Before any version is published: from then on trainers may send gradients of these.
        write_parameter_shapes(directory, self.master.shapes())
        if self.store.versions.newest_number() < 0:
            self._publish_first()
        restored = recovery.publish_if_different(self.master)
        if restored is not None:
            self._notify_published(restored.number)
        if self.object_store_uploads:
            self.object_store_uploads.start()
        self.checkpoints.make_if_due(self.master)
        log.info("at step %d, version %d", run.step(), self.store.versions.newest_number())
        self.host.notify("ralo_run_started", run=run.name(), config=self.config.data)

    def _publish_first(self) -> None:
        target, master = self.store.versions.directory(0), self.master
        version = self.publisher.write(
            target, 0, master.shapes(), master.weights(), master.constants
        )
        self.store.steps.commit_first(version, list(self.store.benchmarks.plans()))
        self._notify_published(0)

    def due(self, state: str = RUNNING) -> Sequence[PendingGradient]:
        """Return the gradients of the next step of a run in `state`, none if it is not due."""
        if state not in (RUNNING, DRAINING):
            return ()
        pending = self.store.gradients.pending()[: self.settings.gradients_per_step]
        if len(pending) == self.settings.gradients_per_step:
            return pending
        # A run that drains gets no more gradients than these: the last step takes what there is.
        return pending if state == DRAINING and not self.store.trees.unfinished() else ()

    def step(self, gradients: Sequence[PendingGradient]) -> None:
        """Take a step with `gradients`, publish its version and commit both.

        Gradients that make no step, all of weight 0 or not finite together, are consumed without
        one.
        """
        started = time.monotonic()
        step, version = self.store.run.step() + 1, self.store.versions.newest_number()
        weights = self.aggregator.weigh([g.facts for g in gradients], version)
        weighed = list(zip(gradients, weights, strict=True))
        applied = [gradient for gradient, weight in weighed if weight > 0]
        if not applied:
            self._leave_out(gradients, "the aggregator gave all of them weight 0")
            return
        try:
            written = self.files.write(
                self.master,
                step,
                [(gradient.path, weight) for gradient, weight in weighed if weight > 0],
                self.store.versions.directory(version + 1),
                version + 1,
                self.store.versions.directory(version),
                self._rate_factor(applied),
            )
        except NotFiniteError as error:
            self._leave_out(gradients, str(error))
            return
        left_out = [gradient for gradient, weight in weighed if not weight > 0]
        self._commit(written, applied, left_out, started)
        self.checkpoints.make_if_due(self.master)

    def _rate_factor(self, gradients: Sequence[PendingGradient]) -> float:
        if not isinstance(self.optimizer_factory, ScalingOptimizerFactory):
            return 1.0
        return self.optimizer_factory.rate_factor(averaged_metrics(gradients))

    def _leave_out(self, gradients: Sequence[PendingGradient], reason: str) -> None:
        """Consume gradients that make no step: a step on nothing would be one on NaN."""
        log.warning("no step is taken with %d gradients: %s", len(gradients), reason)
        self.store.steps.leave_out(gradients)
        self.retention.after_commit()

    def _commit(
        self,
        written: WrittenStep,
        applied: Sequence[PendingGradient],
        left_out: Sequence[PendingGradient],
        started: float,
    ) -> None:
        steps, number, step = self.store.steps, written.version.number, written.step_log.step
        earlier = steps.left_out_batches()
        others, skipped = [*earlier, *steps.empty_batches()], steps.skipped_trees()
        elapsed = self.clock.elapsed()
        consumed = self._consumed(applied, left_out, others, list(skipped.values()), number - 1)
        metrics = {
            "step": step,
            "version": number,
            **consumed,
            **throughput(consumed, elapsed - steps.last_elapsed()),
            "skipped_trees": len(skipped),
            "gradients_left_out": len(left_out) + len(earlier),
            "grad_norm": written.norm,
            "learning_rate": written.step_log.learning_rate,
            "time": time.time(),
            "elapsed_seconds": elapsed,
            "step_seconds": time.monotonic() - started,
            **{f"step/{part}_seconds": value for part, value in written.seconds.items()},
            **self._commit_seconds,
            **self.compute.step_metrics(),
        }
        benchmarks = self.store.benchmarks.due(step)
        committing = time.monotonic()
        steps.commit(
            written.step_log,
            written.version,
            applied,
            left_out,
            others,
            skipped,
            metrics,
            benchmarks,
        )
        # A step's metrics are part of its transaction: the next step reports how long that took.
        self._commit_seconds = {"step/commit_seconds": time.monotonic() - committing}
        self.host.notify("ralo_step_committed", step=step, metrics=metrics)
        self._notify_published(number)
        if self.checkpoints.ready():
            self.checkpoints.settle()
        self.retention.after_commit()
        if self.object_store_uploads:
            self.object_store_uploads.wake()

    def settle(self) -> None:
        """Wait for the checkpoint that is being written, if any, and remove what it replaces."""
        self.checkpoints.settle()
        self.retention.after_commit()

    def _consumed(
        self,
        applied: Sequence[PendingGradient],
        left_out: Sequence[PendingGradient],
        other_batches: Sequence[str],
        skipped: Sequence[Tree],
        version: int,
    ) -> dict[str, float]:
        """Return what the metrics say of the gradients and trees of a step from `version`.

        Means are over all that was sampled, `skipped` trees too. The rewards of a skipped tree are
        all equal: without these trees the mean would be that of half-solved problems alone.
        """
        trees = {g.batch_id: self.store.steps.trees_of(g.batch_id) for g in applied}
        batches = [*(gradient.batch_id for gradient in left_out), *other_batches]
        consumed = [tree for batch in trees.values() for tree in batch]
        consumed += [tree for batch in batches for tree in self.store.steps.trees_of(batch)]
        return {
            **tree_metrics([*consumed, *skipped]),
            **tree_totals(consumed),
            **gradient_metrics(applied, trees, version),
        }

    def _notify_published(self, number: int) -> None:
        directory = str(self.store.versions.directory(number))
        self.host.notify("ralo_weights_published", version=number, directory=directory)

    def finish(self) -> None:
        """End a run that is over: tell plugins, make a last checkpoint, and `close`."""
        step = self.store.run.step()
        log.info("the run is finished after %d steps", step)
        self.store.run.note_error("")
        self.host.notify("ralo_run_finished", run=self.store.run.name(), step=step)
        self.checkpoints.make(self.master)
        self.close()

    def close(self) -> None:
        """Let the checkpoint and the trackers finish, and remove the working copy.

        Afterwards the learner takes no step; a new one continues from what is on the disk.
        """
        self.compute.report()
        self.settle()
        self.retention.at_end()
        if self.object_store_uploads:
            self.object_store_uploads.close()
        self.left_behind = not self.trackers.close()
