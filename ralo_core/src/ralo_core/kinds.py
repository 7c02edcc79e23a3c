"""The table of component kinds: everything that makes a kind, in one place.

Derived from it are the default and the form of each section of the config, the sections that a
process builds (`sections_of`), the plugins that a worker must have, what the registry accepts
and the conformance kit; tests compare it with the tables of docs/hooks.md and
docs/architecture.md. A new kind is a row here, a protocol in `protocols` (exported by
`ralo_core`), a hook in `hookspecs` and a checker in `ralo_core.testing`.
"""

import attrs

from ralo_core import protocols
from ralo_core.components import Command, Component, Recipe

# The processes that build components; ORCHESTRATOR is a web process and what prepares a run.
ORCHESTRATOR, LEARNER, SAMPLER, TRAINER, CLI = (
    "orchestrator",
    "learner",
    "sampler",
    "trainer",
    "cli",
)
"""The roles of processes, as in `BuildContext.role`. Web processes are the orchestrator."""
WORKERS = (SAMPLER, TRAINER)
"""The roles of processes that join a run from other machines, with plugins of their own."""


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of what plugins register."""

    name: str
    text: str
    """What a component of this kind does, in one line."""
    hook: str
    """The hook of `hookspecs` that registers them."""
    section: str | None = None
    """The section of the config that chooses among them; None: the config never names them."""
    default: str | tuple[str, ...] | None = None
    """What the section chooses where no layer of the config does: the name of one component, or
    the names of a pipeline."""
    weighted: bool = False
    """Whether the section gives each component of its pipeline a factor, in ``weights``."""
    roles: tuple[str, ...]
    """The roles of the processes that build them."""
    protocol: type | None = None
    """What the built object must be able to do."""
    checker: str = ""
    """The function of the conformance kit, ``"module:function"``: imported on use, because core
    itself must not load the kit. It is called with a component."""
    checker_builds: bool = False
    """Whether the checker is called with a function that builds a fresh component, instead."""
    registered: type[Component | Recipe | Command] = Component
    """The class of what the hook returns."""

    @property
    def many(self) -> bool:
        """Whether the section lists a pipeline instead of choosing one component."""
        return isinstance(self.default, tuple)

    @property
    def key(self) -> str:
        """The key of the section that holds the choice."""
        return "pipeline" if self.many else "use"

    @property
    def label(self) -> str:
        """The name as prose has it."""
        return self.name.replace("_", " ")


_TABLE = (
    Kind(
        name="problem_provider",
        text="yields the problems of a run, in order",
        hook="ralo_register_problem_providers",
        section="problems",
        default="arithmetic",
        roles=(ORCHESTRATOR,),
        protocol=protocols.ProblemProvider,
        checker="ralo_core.testing.providers:check_problem_provider",
        checker_builds=True,
    ),
    Kind(
        name="sampling_algorithm",
        text="turns a problem into a rollout tree",
        hook="ralo_register_sampling_algorithms",
        section="sampling",
        default="grpo",
        roles=(SAMPLER,),
        protocol=protocols.SamplingAlgorithm,
        checker="ralo_core.testing.sampling:check_sampling_algorithm",
    ),
    Kind(
        name="reward",
        text="scores the responses to a problem",
        hook="ralo_register_rewards",
        section="reward",
        default=("arithmetic",),
        weighted=True,
        roles=(SAMPLER,),
        protocol=protocols.Reward,
        checker="ralo_core.testing.rewards:check_reward",
    ),
    Kind(
        name="advantage_estimator",
        text="turns the rewards of a batch into advantages",
        hook="ralo_register_advantage_estimators",
        section="advantage",
        default="grpo",
        roles=(TRAINER,),
        protocol=protocols.AdvantageEstimator,
        checker="ralo_core.testing.advantages:check_advantage_estimator",
    ),
    Kind(
        name="loss",
        text="is the objective whose gradient is taken",
        hook="ralo_register_losses",
        section="loss",
        default="clip",
        roles=(TRAINER,),
        protocol=protocols.Loss,
        checker="ralo_core.testing.losses:check_loss",
    ),
    Kind(
        name="correction",
        text="weighs tokens that another version of the policy sampled",
        hook="ralo_register_corrections",
        section="correction",
        default=(),
        roles=(TRAINER,),
        protocol=protocols.Correction,
        checker="ralo_core.testing.corrections:check_correction",
    ),
    Kind(
        name="aggregator",
        text="combines the gradients of a step into one",
        hook="ralo_register_aggregators",
        section="aggregation",
        default="token_mean",
        roles=(LEARNER,),
        protocol=protocols.Aggregator,
        checker="ralo_core.testing.aggregators:check_aggregator",
    ),
    Kind(
        name="optimizer",
        text="makes the torch optimizer and sets its learning rate",
        hook="ralo_register_optimizers",
        section="optimizer",
        default="adamw",
        roles=(LEARNER,),
        protocol=protocols.OptimizerFactory,
        checker="ralo_core.testing.optimizers:check_optimizer",
    ),
    Kind(
        name="inference_engine",
        text="generates tokens with their log-probs",
        hook="ralo_register_inference_engines",
        section="engine",
        default="transformers",
        roles=(SAMPLER,),
        protocol=protocols.InferenceEngine,
        checker="ralo_core.testing.engines:check_inference_engine",
    ),
    Kind(
        name="gradient_codec",
        text="encodes gradients for the wire, and decodes them",
        hook="ralo_register_gradient_codecs",
        section="codec",
        default="none",
        # Web processes decode, too: they check a gradient before they accept it.
        roles=(TRAINER, ORCHESTRATOR, LEARNER),
        protocol=protocols.GradientCodec,
        checker="ralo_core.testing.codecs:check_gradient_codec",
    ),
    Kind(
        name="benchmark",
        text="has the items of an evaluation and says how they are graded",
        hook="ralo_register_benchmarks",
        section="benchmarks",
        default=(),
        roles=(ORCHESTRATOR,),
        protocol=protocols.Benchmark,
        checker="ralo_core.testing.benchmarks:check_benchmark",
    ),
    Kind(
        name="tracker",
        text="takes the metrics of every step",
        hook="ralo_register_trackers",
        section="trackers",
        default=("jsonl",),
        roles=(LEARNER,),
        protocol=protocols.Tracker,
        checker="ralo_core.testing.trackers:check_tracker",
        checker_builds=True,
    ),
    Kind(
        name="recipe",
        text="is a named bundle of components and defaults, chosen by `--plugin`",
        hook="ralo_register_recipes",
        roles=(CLI,),
        registered=Recipe,
    ),
    Kind(
        name="command",
        text="is a command of `ralo`",
        hook="ralo_register_commands",
        roles=(CLI,),
        registered=Command,
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}
"""Every kind by its name."""

SECTIONS: dict[str, Kind] = {kind.section: kind for kind in KINDS.values() if kind.section}
"""The kinds that the config chooses among, by their section."""


def sections_of(role: str) -> tuple[str, ...]:
    """Return the sections whose components a process of `role` builds."""
    return tuple(section for section, kind in SECTIONS.items() if role in kind.roles)
