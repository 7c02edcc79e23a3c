"""The plugin that ralo-core itself is: the components that need nothing beyond numpy.

Its neighbours ralo-server and ralo-worker register what needs their dependencies.
"""

from ralo_core.components import Command, Component
from ralo_core.hookspecs import hookimpl


@hookimpl
def ralo_register_problem_providers() -> list[Component]:
    """Register `arithmetic` and `jsonl`."""
    return [
        Component(
            name="arithmetic",
            factory="ralo_core.builtin.arithmetic:ArithmeticProvider",
            config="ralo_core.builtin.arithmetic:ArithmeticSettings",
            summary="generated chained additions, graded by difficulty; the embedded default",
        ),
        Component(
            name="jsonl",
            factory="ralo_core.builtin.jsonl:JsonlProvider",
            config="ralo_core.builtin.jsonl:JsonlSettings",
            summary="problems from JSON-lines files, with field mapping",
        ),
    ]


@hookimpl
def ralo_register_rewards() -> list[Component]:
    """Register `arithmetic`, `exact`, `choice`, `format`, `overlong` and `function`."""
    return [
        Component(
            name="arithmetic",
            factory="ralo_core.builtin.rewards:ArithmeticReward",
            summary="1 if the number behind the last '#' is the sum, else 0",
        ),
        Component(
            name="exact",
            factory="ralo_core.builtin.rewards:ExactReward",
            config="ralo_core.builtin.rewards:ExactSettings",
            summary="1 if the answer equals the reference, else 0",
        ),
        Component(
            name="choice",
            factory="ralo_core.builtin.choice:ChoiceReward",
            config="ralo_core.builtin.choice:ChoiceSettings",
            summary="1 if the answer chooses the letter of the reference, else 0",
        ),
        Component(
            name="format",
            factory="ralo_core.builtin.rewards:FormatReward",
            config="ralo_core.builtin.rewards:FormatSettings",
            summary="1 if the whole answer matches a regular expression, else 0",
        ),
        Component(
            name="overlong",
            factory="ralo_core.builtin.rewards:OverlongReward",
            config="ralo_core.builtin.rewards:OverlongSettings",
            summary="0, falling to -1 where a response comes near the token limit",
        ),
        Component(
            name="function",
            factory="ralo_core.builtin.rewards:FunctionReward",
            config="ralo_core.builtin.rewards:FunctionSettings",
            summary="any function of your own, named as module:function",
        ),
    ]


@hookimpl
def ralo_register_inference_engines() -> list[Component]:
    """Register `fake`."""
    return [
        Component(
            name="fake",
            factory="ralo_core.testing.fake_engine:FakeEngine",
            summary="a deterministic toy model without torch, to try protocols and deployments",
        )
    ]


@hookimpl
def ralo_register_gradient_codecs() -> list[Component]:
    """Register `none`, `bf16` and `int8`."""
    return [
        Component(
            name="none",
            factory="ralo_core.builtin.codecs:Float32Codec",
            summary="float32 as it is",
        ),
        Component(
            name="bf16",
            factory="ralo_core.builtin.codecs:Bfloat16Codec",
            summary="rounded to bfloat16, half the bytes",
        ),
        Component(
            name="int8",
            factory="ralo_core.builtin.int8:Int8Codec",
            config="ralo_core.builtin.int8:Int8Settings",
            summary="blocks of 8-bit integers, a quarter of the bytes, with error feedback",
        ),
    ]


@hookimpl
def ralo_register_trackers() -> list[Component]:
    """Register `jsonl`."""
    return [
        Component(
            name="jsonl",
            factory="ralo_core.builtin.trackers:JsonlTracker",
            summary="metrics.jsonl in the run directory",
        )
    ]


@hookimpl
def ralo_register_commands() -> list[Command]:
    """Register the commands that need no other distribution."""
    return [
        Command(
            name="plugins",
            target="ralo_core.cli.plugins:plugins",
            summary="Show the installed plugins, their components and options.",
        ),
        Command(
            name="config",
            target="ralo_core.cli.config:config",
            summary="Show, check and explain the configuration.",
        ),
        Command(
            name="run",
            target="ralo_core.cli.run:run",
            summary="Train on this machine: orchestrator, samplers and trainers together.",
        ),
        Command(
            name="eval",
            target="ralo_core.cli.eval:evaluate",
            summary="Ask benchmarks of a model, or of a version of a running run.",
        ),
        Command(
            name="status",
            target="ralo_core.cli.status:status",
            summary="Show how a run is: progress, queues, workers.",
        ),
        Command(
            name="top",
            target="ralo_core.cli.top:top",
            summary="Watch a run live, full screen.",
        ),
        Command(
            name="show",
            target="ralo_core.cli.show:show",
            summary="Show rollouts, steps or evaluations of a run; one rollout as a tree.",
        ),
        Command(
            name="stop",
            target="ralo_core.cli.stop:stop",
            summary="Drain a run and finish it.",
        ),
        Command(
            name="logs",
            target="ralo_core.cli.logs:logs",
            summary="Show and follow the logs of a run's processes.",
        ),
        Command(
            name="launch",
            target="ralo_core.cli.launch:launch",
            summary="Start a run here or on a cluster, and the relays of weights beside it.",
        ),
    ]
