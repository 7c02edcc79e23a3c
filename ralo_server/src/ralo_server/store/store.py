"""`Store`: everything that decides what happens next, opened from a run directory.

Web processes and the learner each open one; they share nothing else. This module only puts the
parts together: a part owns a table, or a transaction over several of them.
"""

import time
from collections.abc import Callable

from ralo_core.config import Config, RolloutsSettings, ServerSettings
from ralo_server.rundir.directory import RunDirectory
from ralo_server.store.batches import Batches
from ralo_server.store.compute import Compute
from ralo_server.store.database import Database
from ralo_server.store.evaluation.benchmarks import Benchmarks
from ralo_server.store.evaluation.evaluations import Evaluations
from ralo_server.store.evaluation.shards import Shards
from ralo_server.store.expiry import Expiry
from ralo_server.store.gradients import Gradients
from ralo_server.store.lease_terms import LeaseTerms
from ralo_server.store.leases import Leases
from ralo_server.store.problems import Problems
from ralo_server.store.rollbacks import Rollbacks
from ralo_server.store.run_state import RunProgress
from ralo_server.store.sampling.dynamic_sampling import skip_rule
from ralo_server.store.steps.records import Records
from ralo_server.store.steps.step_log import StepLogs
from ralo_server.store.steps.steps import Steps
from ralo_server.store.trees import Trees
from ralo_server.store.uploads import Uploads
from ralo_server.store.views.rollouts import RolloutArchive
from ralo_server.store.views.shown_steps import ShownSteps
from ralo_server.store.weights.parts import Parts
from ralo_server.store.weights.version_holds import VersionHolds
from ralo_server.store.weights.versions import Versions
from ralo_server.store.workers import Workers
from ralo_server.trackers.chosen import tracker_names


class Store:
    """The state of the run in `directory`, by part; only to be looked at with `read_only`.

    `clock` gives the unix time, in seconds, by which leases end.
    """

    def __init__(
        self,
        directory: RunDirectory,
        config: Config,
        *,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        server = config.section(ServerSettings)
        self.directory = directory
        self.config = config
        self.database = Database(directory.state, read_only=read_only)
        self.terms = LeaseTerms(server.lease_seconds, clock)
        self.leases = Leases(self.database, self.terms)
        self.problems = Problems(self.database, self.terms, server.queued_trees)
        self.trees = Trees(
            database=self.database,
            leases=self.terms,
            folder=directory.samples,
            skips=skip_rule(config),
            keeps=config.section(RolloutsSettings),
        )
        self.batches = Batches(self.database, self.terms, directory.samples)
        self.rollouts = RolloutArchive(self.database, directory.samples)
        self.gradients = Gradients(self.database, directory.gradients)
        self.uploads = Uploads(self.database, self.gradients)
        self.versions = Versions(self.database, directory.weights, clock)
        self.parts = Parts(self.database, directory.weights)
        self.version_holds = VersionHolds(self.database, server.lease_seconds, clock)
        self.benchmarks = Benchmarks(self.database)
        self.evaluations = Evaluations(self.database, self.benchmarks, self.versions)
        self.shards = Shards(self.database, self.terms, self.benchmarks)
        self.steps = Steps(self.database, self.versions, self.evaluations)
        self.records = Records(self.database, tracker_names(config))
        self.shown_steps = ShownSteps(self.database)
        self.step_logs = StepLogs(self.database, directory.gradients)
        self.workers = Workers(self.database, self.leases)
        self.compute = Compute(self.database, self.terms)
        self.expiry = Expiry(self.database, self.terms, self.uploads, self.workers)
        self.rollbacks = Rollbacks(
            database=self.database,
            versions=self.versions,
            evaluations=self.evaluations,
            trees=self.trees,
            gradients=self.gradients,
        )
        self.run = RunProgress(
            database=self.database,
            problems=self.problems,
            versions=self.versions,
            evaluations=self.evaluations,
            config=config,
        )
