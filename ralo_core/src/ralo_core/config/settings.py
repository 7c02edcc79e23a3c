"""The fixed sections of the config: one attrs class each, with help text and default.

Sections that choose components (``[loss] use = ...``) are not here: plugins own those.
"""

import attrs

from ralo_core.config.launching import LaunchSettings
from ralo_core.options.checks import at_least, between, one_of, positive
from ralo_core.options.setting import setting


@attrs.frozen(kw_only=True)
class RunSettings:
    """``[run]``: what is trained, and when to stop."""

    name: str = setting("", "name of the run; empty: recipe and start time")
    model: str = setting("", "Hugging Face model directory; empty: the embedded tiny model")
    seed: int = setting(0, "seed of problems, sampling and the embedded model")
    max_steps: int = setting(0, "stop after this many optimizer steps; 0: no bound", at_least(0))
    max_minutes: float = setting(0.0, "stop after this many minutes; 0: no bound", at_least(0))


@attrs.frozen(kw_only=True)
class PluginSettings:
    """``[plugins]``: which plugins must, and must not, be there."""

    require: list[str] = setting(
        [], "distributions that must be installed, e.g. 'ralo-treepo>=0.1'"
    )
    disable: list[str] = setting([], "plugins that are not loaded although installed")


@attrs.frozen(kw_only=True)
class PromptSettings:
    """``[prompt]``: how a problem becomes token ids."""

    system: str = setting("", "system message put before the problem; empty: none")
    template: str = setting(
        "chat", "'chat' (the model's own template), 'plain', or 'module:function' giving text"
    )
    plain: str = setting("{prompt}", "format of template 'plain'; {prompt} and {system} are known")


@attrs.frozen(kw_only=True)
class GenerationSettings:
    """``[generation]``: the distribution that rollouts are drawn from."""

    temperature: float = setting(1.0, "softmax temperature of sampling", positive)
    top_p: float = setting(1.0, "keep the smallest set with this probability; 1: all", positive)
    top_k: int = setting(0, "keep this many most probable tokens; 0: all", at_least(0))


@attrs.frozen(kw_only=True)
class ServerSettings:
    """``[server]``: the orchestrator's web side."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(59888, "port to listen on; 0: any free one", at_least(0))
    threads: int = setting(
        256, "threads of the web worker; three quarters of them may hold waiting workers", positive
    )
    lease_seconds: float = setting(120.0, "a lease that is not renewed ends after this", positive)
    queued_trees: int = setting(
        64, "trees that may wait for a trainer before samplers are held back", positive
    )
    max_body_mb: int = setting(1024, "largest request body accepted, in MiB", positive)
    chunk_mb: int = setting(64, "largest chunk of a gradient upload, in MiB", positive)
    concurrent_uploads: int = setting(
        4, "gradients received at once; further trainers wait, each holds up to 4 threads", positive
    )
    pending_gradients: int = setting(
        64, "gradients that may wait for a step before trainers are held back", positive
    )
    max_norm_ratio: float = setting(
        1000.0,
        "refuse a gradient whose norm is this many times the median of the last ones; 0: never",
        at_least(0),
    )
    min_free_mb: int = setting(
        1024, "free disk, in MiB, below which no new work is handed out or taken in", at_least(0)
    )
    restart_limit: int = setting(
        4, "restarts in quick succession after which a process is given up; 0: never", at_least(0)
    )
    auth: str = setting(
        "auto",
        "'on': requests need a token; 'auto': unless only this machine can connect; 'off'",
        one_of("auto", "on", "off"),
    )
    certfile: str = setting("", "PEM file of the server's certificate chain; empty: plain HTTP")
    keyfile: str = setting("", "PEM file of the certificate's private key")
    public_name: str = setting(
        "", "this machine's name or address in server.url; empty: where the server listens"
    )


@attrs.frozen(kw_only=True)
class SamplerSettings:
    """``[sampler]``: the generation runtime."""

    problems_in_flight: int = setting(
        0, "problems a sampler works on at once; 0: as many as keep its engine full", at_least(0)
    )
    evaluation_share: float = setting(
        0.5,
        "share of the engine that an evaluation may take from rollouts that want all of it",
        between(0.05, 0.95),
    )
    threads: int = setting(0, "CPU threads of torch; 0: torch's default", at_least(0))


@attrs.frozen(kw_only=True)
class TrainerSettings:
    """``[trainer]``: the gradient runtime."""

    batch_trees: int = setting(32, "trees (problems) in one leased batch", positive)
    dynamic_sampling: str = setting(
        "off",
        "skip trees whose rollouts all have the same reward, others take their place: 'total' "
        "compares the sum of rewards, 'first' also the first of the pipeline alone; 'off'",
        one_of("off", "first", "total"),
    )
    microbatch_tokens: int = setting(16384, "padded tokens of one forward pass", positive)
    shared_tokens: int = setting(
        2048,
        "rollouts are computed together in sequences of at most this many tokens, a shared prefix "
        "once, where that is cheaper than apart and padded; 0: each by itself",
        at_least(0),
    )
    threads: int = setting(0, "CPU threads of torch; 0: torch's default", at_least(0))
    overlap: bool = setting(
        True, "fetch the next batch and newer weights, and send the last gradient, while computing"
    )
    head_chunk_mb: int = setting(
        64, "MiB of float32 logits that are computed at a time; 0: those of a whole forward pass",
        at_least(0),
    )  # fmt: skip
    checkpoint_layers: float = setting(
        0.0, "share of the layers whose inside is computed again in the backward pass, not kept",
        between(0, 1),
    )  # fmt: skip
    precision: str = setting(
        "float32",
        "of the computation; weights and gradient sums are float32 either way",
        one_of("float32", "bfloat16"),
    )
    offload_gradients: bool = setting(
        False, "keep the gradient sums in the host's memory, moved there during the backward pass"
    )
    sharding: str = setting(
        "none",
        "'full': every rank of a trainer keeps its part of weights and gradients only (FSDP2), for "
        "models that do not fit; 'none': every rank keeps all",
        one_of("none", "full"),
    )


@attrs.frozen(kw_only=True)
class RegularisationSettings:
    """``[regularisation]``: what is added to the loss, whatever the loss is."""

    kl: float = setting(
        0.0, "price per nat of KL to the model that the run began with; 0: none", at_least(0)
    )
    kl_estimator: str = setting(
        "k3", "how a token tells of that KL: 'k1' (to log only), 'k2' or 'k3'",
        one_of("k1", "k2", "k3"),
    )  # fmt: skip
    entropy: float = setting(
        0.0, "bonus per nat of entropy of the sampling distribution; 0: none", at_least(0)
    )


@attrs.frozen(kw_only=True)
class LearnerSettings:
    """``[learner]``: the optimizer side of the orchestrator."""

    gradients_per_step: int = setting(1, "gradient uploads that make one optimizer step", positive)
    keep_last_versions: int = setting(
        3, "newest weight versions kept on disk, with their optimizer state", at_least(1)
    )
    keep_every: int = setting(0, "keep every n-th version for good, too; 0: none", at_least(0))
    checkpoint_every: int = setting(
        8, "steps between checkpoints of the optimizer state; gradients since are kept", positive
    )
    dtype: str = setting(
        "bfloat16", "dtype of published weights", one_of("bfloat16", "float16", "float32")
    )
    shard_mb: int = setting(
        1024, "weights beyond this, in MiB, are published in several files", positive
    )
    deltas: bool = setting(
        True, "publish what changed since the last version, too, where that is clearly smaller"
    )
    threads: int = setting(1, "CPU threads of torch", positive)


@attrs.frozen(kw_only=True)
class RolloutsSettings:
    """``[rollouts]``: which trees are kept, for people to look at, once they were trained on."""

    keep_last: int = setting(500, "newest trained trees that are kept; 0: none", at_least(0))
    keep_every: int = setting(
        10, "keep some trees of every n-th step for good, to look back over a run; 0: of none",
        at_least(0),
    )  # fmt: skip
    keep_per_step: int = setting(2, "trees of such a step that are kept for good", positive)
    keep_at_most: int = setting(
        1000,
        "bound on the trees kept for good: beyond it only every second of these steps keeps its "
        "trees, then every fourth, and so on",
        positive,
    )


@attrs.frozen(kw_only=True)
class WeightsSettings:
    """``[weights]``: how versions reach the workers."""

    sources: list[str] = setting(
        [], "URLs of relays that workers try before the orchestrator, nearest first"
    )
    store: str = setting(
        "", "fsspec URL of an object store that gets every version, e.g. 's3://bucket/run'"
    )


@attrs.frozen(kw_only=True)
class EvaluationSettings:
    """``[evaluation]``: greedy accuracy on held-out problems, before, after and in between."""

    problems: int = setting(200, "held-out problems per evaluation; 0: never evaluate", at_least(0))
    every_steps: int = setting(
        0, "also evaluate every so many steps; 0: first and last", at_least(0)
    )


@attrs.frozen(kw_only=True)
class LoraSettings:
    """``[lora]``: train adapters beside a model that stays as it is, instead of the model."""

    rank: int = setting(0, "rank of the adapters; 0: the whole model is trained", at_least(0))
    alpha: float = setting(
        32.0, "adapters count alpha / rank times in the sum with their layer", positive
    )
    targets: list[str] = setting(
        [],
        "layers that get an adapter, by the end of their names, e.g. ['q_proj', 'mlp.up_proj']; "
        "empty: every linear layer of the model's blocks",
    )
    dtype: str = setting(
        "float32", "dtype of published adapters", one_of("float32", "bfloat16", "float16")
    )
    base_dtype: str = setting(
        "float32",
        "dtype in which trainers hold the model beside the adapters",
        one_of("float32", "bfloat16", "float16"),
    )


@attrs.frozen(kw_only=True)
class LocalStepsSettings:
    """``[local_steps]``: AdamW steps of a trainer's own per upload, on the parts of a batch."""

    steps: int = setting(
        0,
        "parts of a leased batch, a step each, per upload; 0: a gradient is uploaded",
        at_least(0),
    )
    lr: float = setting(1e-6, "learning rate of these steps", positive)
    weight_decay: float = setting(0.0, "decoupled weight decay of these steps", at_least(0))
    max_grad_norm: float = setting(
        1.0, "bound on the global norm of a step's gradient; 0: no clipping", at_least(0)
    )


FIXED: dict[str, type] = {
    "run": RunSettings,
    "plugins": PluginSettings,
    "prompt": PromptSettings,
    "generation": GenerationSettings,
    "server": ServerSettings,
    "sampler": SamplerSettings,
    "trainer": TrainerSettings,
    "regularisation": RegularisationSettings,
    "learner": LearnerSettings,
    "rollouts": RolloutsSettings,
    "weights": WeightsSettings,
    "evaluation": EvaluationSettings,
    "lora": LoraSettings,
    "local_steps": LocalStepsSettings,
    "launch": LaunchSettings,
}
"""Section name -> settings class."""
