"""A run in one process: sampler, trainer and optimizer take turns, without HTTP or queues.

The parts are those of a run, chosen by recipe and settings. What differs is the time between
them: every tree of a step is written by the weights of exactly `lag` versions before it, which a
real run only bounds, and the same seed gives the same run.

The scripts beside this module start it, one thread each, and collect its numbers.
"""

import asyncio
import shutil
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import save_model

from ralo_core import BenchmarkSettings, BuildContext, Problem, RolloutTree
from ralo_core.cli.config_source import ConfigSource
from ralo_core.config import Config, RegularisationSettings, TrainerSettings
from ralo_core.messages.evaluations import EvaluationShard
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry
from ralo_server.store.evaluation.benchmarks import Plan
from ralo_worker.sampler.grading import graded
from ralo_worker.sampler.responding import respond
from ralo_worker.sampler.rollout_pipeline import RolloutPipeline
from ralo_worker.sampler.runtime import build_pipeline
from ralo_worker.trainer.compute.gradient import Gradient
from ralo_worker.trainer.compute.model import open_model
from ralo_worker.trainer.compute.policy import Policy
from ralo_worker.trainer.parallel.data_parallel import open_data_parallel


@attrs.frozen(kw_only=True)
class Step:
    """What one step took and gave. `seconds` of wall time, evaluations not counted."""

    trees: Sequence[RolloutTree]
    decoded: int
    seconds: float
    metrics: dict[str, float]

    @property
    def reward(self) -> float:
        """The mean over all leaves."""
        return float(sum(tree.rewards.sum() for tree in self.trees) / self.rollouts)

    @property
    def rollouts(self) -> int:
        """Leaves of all trees."""
        return sum(len(tree.leaves) for tree in self.trees)


class OneProcess:
    """A run of `recipe` with further `settings` ("section.key=value") on the model in `model`."""

    def __init__(
        self, model: Path, work: Path, recipe: str, settings: Sequence[str], lag: int = 0
    ) -> None:
        registry = Registry(PluginHost().load())
        assignments = [f"run.model={model}", *settings]
        source = ConfigSource(recipe=recipe, assignments=assignments, tiny=True)
        self.config = source.gather(registry)
        self.work, self.lag, self.version = work, lag, 0
        shutil.copytree(model, self._directory(0))
        self.model = open_model(self._directory(0))
        settings = self.config.section(TrainerSettings)
        priced = self.config.section(RegularisationSettings).kl
        reference = Policy(open_model(self._directory(0)), settings) if priced else None
        policy = Policy(self.model, settings)
        self.gradients = open_data_parallel(self.config, policy, reference)
        self.rule = self.config.build("optimizer", BuildContext(role="learner"))
        self.optimizer = self.rule.build(self.model.named_parameters())
        self.rollouts = make_rollouts(self.config, self._directory(0))
        provider = self.config.build("problems", BuildContext(role="orchestrator"))
        self.held_out = provider.held_out
        self._problems = iter(provider)
        self._events = asyncio.Runner()

    def step(self) -> Step:
        """Sample, train, and load what the next step samples with."""
        started, before = time.perf_counter(), self._decoded()
        count = self.config.section(TrainerSettings).batch_trees
        trees = self._events.run(self._sample(list(islice(self._problems, count))))
        gradient = self.gradients.gradient(trees, self.version)
        if gradient is not None:
            self._apply(gradient)
        self._load(max(0, self.version - self.lag))
        return Step(
            trees=trees,
            decoded=self._decoded() - before,
            seconds=time.perf_counter() - started,
            metrics=gradient.metrics if gradient else {},
        )

    def accuracy(self, count: int) -> float:
        """Return the newest policy's greedy accuracy on `count` held-out problems."""
        name, reward = next(iter(self.rollouts.rewards.items()))
        job = EvaluationShard(
            job_id="",
            lease_id="",
            version=self.version,
            benchmark="held_out",
            response_settings=Plan(grader=name, settings=BenchmarkSettings()).response_settings,
            problems=tuple(self.held_out(count)),
        )
        self._load(self.version)
        asked = self._events.run(respond(self.rollouts, self.rollouts.engine, job))
        right = [item.correct[0] for item in graded(self.rollouts, reward, job, asked)]
        self._load(max(0, self.version - self.lag))
        return sum(right) / len(right)

    def close(self) -> None:
        """Stop the engine and remove the weights."""
        self._events.run(self.rollouts.engine.close())
        self._events.close()
        shutil.rmtree(self.work)

    async def _sample(self, problems: Sequence[Problem]) -> list[RolloutTree]:
        return list(await asyncio.gather(*map(self._tree, problems)))

    async def _tree(self, problem: Problem) -> RolloutTree:
        tree = await self.rollouts.sample(problem)
        return await self.rollouts.score(problem, tree, "")

    def _apply(self, gradient: Gradient) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.grad = gradient.tensors[name]
        bound = self.rule.max_grad_norm or float("inf")
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), bound)
        for group in self.optimizer.param_groups:
            factor = self.rule.rate_factor(gradient.metrics)
            group["lr"] = factor * self.rule.learning_rate(self.version + 1)
        self.optimizer.step()
        self._publish()

    def _publish(self) -> None:
        self.version += 1
        directory = self._directory(self.version)
        directory.mkdir()
        save_model(self.model, str(directory / "model.safetensors"))
        if (old := self.version - self.lag - 1) > 0:
            shutil.rmtree(self._directory(old))

    def _load(self, version: int) -> None:
        engine = self.rollouts.engine
        if engine.version != version:
            self._events.run(engine.load_weights(version, self._directory(version)))

    def _directory(self, version: int) -> Path:
        return self.work / f"v{version:06d}"

    def _decoded(self) -> int:
        return self.rollouts.engine.stats().decoded_tokens


def make_rollouts(config: Config, directory: Path) -> RolloutPipeline:
    """Return the sampler's parts over an engine of the model in `directory`."""
    context = BuildContext(role="sampler", model_dir=directory)
    engine: Any = config.build("engine", context)
    return build_pipeline(config, context, engine)
