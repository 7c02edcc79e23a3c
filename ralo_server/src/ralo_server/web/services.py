"""What the resources share: the store, the problem source, the codec, benchmarks, events.

It is made once per web process.
"""

import shutil
from collections.abc import Mapping
from typing import Any

from ralo_core.components import BuildContext
from ralo_core.config import ServerSettings, TrainerSettings, WeightsSettings
from ralo_core.kinds import ORCHESTRATOR, sections_of
from ralo_core.protocols import GradientCodec
from ralo_server.evaluation.results import Concluder
from ralo_server.evaluation.run_benchmarks import benchmarks_of
from ralo_server.expiry import end_overdue
from ralo_server.models.object_store import ObjectStore
from ralo_server.preparation import make_provider
from ralo_server.rundir.directory import RunDirectory
from ralo_server.scaling.background import Fits
from ralo_server.store import Store
from ralo_server.store.problems import ProblemSource
from ralo_server.store.run_state import DRAINING, FINISHED, RUNNING
from ralo_server.store.views.step_history import StepHistory
from ralo_server.web.live.current_stats import CurrentStats
from ralo_server.web.live.waiting import Waiting
from ralo_server.web.responses.advantages import Advantages
from ralo_server.web.responses.stats_text import StatsText
from ralo_server.web.responses.token_texts import TokenTexts
from ralo_server.web.sibling_runs import SiblingRuns


class Services:
    """The web side of the run in `directory`."""

    def __init__(self, directory: RunDirectory, waiting: Waiting) -> None:
        self.settings: Mapping[str, Any] = directory.settings()
        self.config, registry = directory.load_config(sections_of(ORCHESTRATOR))
        self.host = registry.host
        self.store = Store(directory, self.config)
        self.current = CurrentStats(self.store)
        self.stats = StatsText(self.store, self.current)
        self.texts = TokenTexts(directory.model / "tokenizer.json")
        self.advantages = Advantages(self.config)
        self.history = StepHistory(self.store.database.rows)
        self.siblings = SiblingRuns(directory.root)
        self.source = ProblemSource(lambda: make_provider(self.config))
        self.codec: GradientCodec = self.config.build("codec", BuildContext(role="orchestrator"))
        self.conclude = Concluder(benchmarks_of(self.config), directory)
        self.server = self.config.section(ServerSettings)
        self.batch_trees = self.config.section(TrainerSettings).batch_trees
        where = self.config.section(WeightsSettings).store
        self.object_store = ObjectStore(where) if where else None
        self.waiting = waiting
        self.fits = Fits()

    def notify(self, event: str, **fields: Any) -> None:
        """Tell every plugin of an event."""
        self.host.notify(event, **fields)

    def end_overdue(self) -> None:
        """End what has run out of time, at most once a second."""
        end_overdue(self.store, self.host)

    def lacks_disk(self, wanted: int = 0) -> bool:
        """Say whether less than ``server.min_free_mb`` would be free with `wanted` bytes more."""
        free = shutil.disk_usage(self.store.directory.root).free
        return free - wanted < self.server.min_free_mb << 20

    @property
    def finished(self) -> bool:
        """Whether the run is over."""
        return self.store.run.current() == FINISHED

    @property
    def hands_out_problems(self) -> bool:
        """Whether new problems may be leased: their trees must find room on the disk."""
        return self.store.run.current() == RUNNING and not self.lacks_disk()

    @property
    def hands_out_batches(self) -> bool:
        """Whether batches may be leased."""
        return self.store.run.current() in (RUNNING, DRAINING)

    @property
    def draining(self) -> bool:
        """Whether batches may be smaller than asked for."""
        return self.store.run.current() == DRAINING
