"""The plugin that ralo-core itself is: the components that need nothing beyond numpy.

What needs torch, falcon or a model is registered by the distribution that has these dependencies.
"""

from ralo_core.components import Command, Component
from ralo_core.hookspecs import hookimpl


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
    ]
