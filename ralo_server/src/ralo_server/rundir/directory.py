"""The run directory: where everything of a run lies, and the config it runs with.

All state of a run is in it. The processes of an orchestrator meet nowhere else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ralo_core.access import FINISHED_FILE, TOKENS_FILE, URL_FILE
from ralo_core.builtin.trackers import METRICS_FILE
from ralo_core.config import Config, from_data
from ralo_core.config.renamed import with_new_names, with_new_paths
from ralo_core.errors import RaloError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry


@attrs.frozen
class RunDirectory:
    """Paths below `root`."""

    root: Path

    @property
    def state(self) -> Path:
        """The SQLite file."""
        return self.root / "state.db"

    @property
    def config_file(self) -> Path:
        """The resolved config as JSON, with what the processes must know beside it."""
        return self.root / "config.json"

    @property
    def url_file(self) -> Path:
        """The server's URL, written once it listens."""
        return self.root / URL_FILE

    @property
    def finished_file(self) -> Path:
        """Written when an orchestrator ends because the run is over, to tell its launcher why."""
        return self.root / FINISHED_FILE

    @property
    def lock_file(self) -> Path:
        """Locked while any process of an orchestrator lives; see `rundir.lock`."""
        return self.root / "lock"

    @property
    def tokens_file(self) -> Path:
        """The token of each role, readable by the owner only."""
        return self.root / TOKENS_FILE

    @property
    def model(self) -> Path:
        """The Hugging Face files that no step changes; every version links them. In a LoRA run the
        model's weights are among them."""
        return self.root / "model"

    @property
    def adapter(self) -> Path:
        """The adapter that a LoRA run began with."""
        return self.root / "adapter"

    @property
    def samples(self) -> Path:
        """Rollout trees that wait for their step."""
        return self.root / "samples"

    @property
    def gradients(self) -> Path:
        """Gradient uploads, received and waiting."""
        return self.root / "gradients"

    @property
    def weights(self) -> Path:
        """One folder per published version."""
        return self.root / "weights"

    @property
    def parameters_file(self) -> Path:
        """Name and shape of every trained parameter, as JSON."""
        return self.weights / "parameters.json"

    @property
    def optimizer(self) -> Path:
        """Checkpoints: master weights and optimizer state, one folder per version that has one."""
        return self.root / "optimizer"

    @property
    def working(self) -> Path:
        """What the learner steps in place, beside the checkpoints; overwritten at every start."""
        return self.optimizer / "working"

    @property
    def evaluations(self) -> Path:
        """A folder per evaluated version, with a file of results and responses per benchmark."""
        return self.root / "eval"

    def evaluation_file(self, version: int, benchmark: str) -> Path:
        """Return the file with the results of a benchmark for a version."""
        return self.evaluations / f"v{version:06d}" / f"{benchmark}.json"

    @property
    def metrics_file(self) -> Path:
        """One line of JSON per record, which the jsonl tracker writes."""
        return self.root / METRICS_FILE

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.root / "logs"

    def settings(self) -> Mapping[str, Any]:
        """Return what `preparation` wrote: ``{"config", "sources", "plugins", "recipe"}``.

        Names in the config that an older ralo-server wrote are today's.
        """
        try:
            settings: dict[str, Any] = json.loads(self.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            msg = f"{self.root} is not a run directory: it has no config.json; ralo serve makes one"
            raise RaloError(msg) from None
        settings["config"] = with_new_names(settings["config"])
        settings["sources"] = with_new_paths(settings["sources"])
        return settings

    def load_config(self, sections: tuple[str, ...]) -> tuple[Config, Registry]:
        """Return config and registry for a process that needs the components of `sections`."""
        data = self.settings()["config"]
        registry = Registry(PluginHost(disabled=data["plugins"]["disable"]).load())
        return from_data(data, registry, sections), registry
