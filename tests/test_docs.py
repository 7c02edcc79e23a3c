"""The code in docs/ is code that runs, and every hook is documented with an example."""

import re
import shlex
import tomllib
import types
from itertools import islice
from pathlib import Path

import click
import pytest

from ralo_core import BuildContext, hookspecs
from ralo_core.components import Component
from ralo_core.config import LaunchSettings, resolve, set_layer
from ralo_core.config.layers import Layer
from ralo_core.kinds import KINDS, SECTIONS
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry, load_object
from ralo_core.testing import check_component

DOCS = Path(__file__).parent.parent / "docs"
HOOKS = [name for name in vars(hookspecs) if name.startswith("ralo_")]
KIND_OF_HOOK = {kind.hook: kind.name for kind in KINDS.values()}


def sections(name):
    """Return the text below every third-level heading of a page."""
    parts = re.split(r"^### (\w+)$", (DOCS / name).read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)


def module_of(code, name="documented"):
    module = types.ModuleType(name)
    exec(compile(code, name, "exec"), vars(module))  # noqa: S102 (our own documentation)
    return module


def row_of(kind):
    """Return the line of docs/hooks.md that the table of kinds asks for."""
    section = f"`[{kind.section}] {kind.key}`" if kind.section else ""
    if kind.weighted:
        section += f", `[{kind.section}.weights]`"
    names = kind.default if kind.many else (kind.default,) if kind.default else ()
    default = ", ".join(f"`{name}`" for name in names)
    cells = (kind.label, kind.text, f"`{kind.hook}`", section, default, ", ".join(kind.roles))
    return f"| {' | '.join(cells)} |"


def test_the_table_of_hooks_is_that_of_the_kinds():
    text = (DOCS / "hooks.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "`ralo_register_" in line and line[0] == "|"]
    assert lines == [row_of(kind) for kind in KINDS.values()]


def test_the_integration_view_shows_every_kind_where_it_runs():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    view = text.partition("### 4. Integration")[2].partition("```mermaid\n")[2].partition("```")[0]
    drawn = {}
    for name, inside in re.findall(r"subgraph (\w+)\n(.*?)\n    end", view, flags=re.S):
        drawn[name] = re.findall(r'\["([^"]+)"\]', inside)
    for kind in SECTIONS.values():
        places = {"orchestrator" if role == "learner" else role for role in kind.roles}
        if len(places) > 1:
            assert f'["{kind.label}"]' in view, kind.name
            continue
        (place,) = places
        assert {kind.label, f"{kind.label}s"} & set(drawn[place]), kind.name


def test_every_hook_has_a_section_and_no_section_is_of_an_unknown_hook():
    assert list(sections("hooks.md")) == HOOKS


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_works(hook, capsys):
    (code,) = python_blocks(sections("hooks.md")[hook])
    module = module_of(code)
    host = PluginHost()
    host.register(module, "documented")
    registry = Registry(host)
    if hook not in KIND_OF_HOOK:
        fields = {
            "run": "r", "config": {"loss": {"use": "clip"}}, "problem_id": "p", "rewards": [0.0],
            "version": 1, "step": 2, "metrics": {"grad_norm": 11.0, "accuracy": 0.5},
            "directory": "d", "worker_id": "w", "role": "sampler", "benchmark": "held_out",
        }  # fmt: skip
        host.notify(hook, **fields)
        assert capsys.readouterr().out
        return
    kind = KIND_OF_HOOK[hook]
    ((name, entry),) = registry.entries(kind).items()
    assert entry.plugin.name == "documented"
    if isinstance(entry.item, Component) and kind != "inference_engine":
        check_component(kind, name, registry=registry)


def test_the_plugin_of_the_guide_works():
    text = (DOCS / "writing-a-plugin.md").read_text(encoding="utf-8")
    code, test = python_blocks(text)
    host = PluginHost().load()
    host.register(module_of(code, "ralo_parity"), "parity", "ralo-parity")
    registry = Registry(host)
    checks = module_of(test)
    checks.check_component = lambda *arguments: check_component(*arguments, registry=registry)
    checks.test_contracts()
    layer = Layer("recipe", registry.recipe("parity").defaults)
    config = resolve([layer, set_layer(["problems.parity.digits=3"])], registry)
    provider = config.build("problems", BuildContext(role="orchestrator"))
    assert {problem.answer for problem in islice(provider, 30)} == {"even", "odd"}


def test_the_tables_of_benchmarks_say_what_is_registered():
    text = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    table = text.partition("### Built-in benchmarks")[2].partition("### ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {name.strip("`"): rest[2:5] for name, *rest in cells}
    registry = Registry(PluginHost().load())
    assert set(rows) == set(registry.entries("benchmark"))
    for name, (samples, drawn, metrics) in rows.items():
        default = registry.settings_class("benchmark", name)()
        temperature, top_p = map(float, drawn.split(", "))
        assert (default.samples, default.temperature) == (int(samples), temperature), name
        assert (default.top_p, default.metrics) == (top_p, metrics.split(", ")), name


def test_the_configuration_of_benchmarks_is_valid_and_its_function_is_a_metric():
    text = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, flags=re.M | re.S)
    config = resolve([Layer("docs", tomllib.loads(block))], Registry(PluginHost().load()))
    assert config.data["benchmarks"]["jsonl"]["metrics"][-1] == "my_metrics:brevity"
    (code,) = python_blocks(text)
    item = types.SimpleNamespace(texts=("abc", "a"))
    assert module_of(code).brevity(item) == pytest.approx(1 / 3)


def console_lines():
    pages = ("operations.md", "clusters.md")
    text = "\n".join((DOCS / page).read_text(encoding="utf-8") for page in pages)
    blocks = re.findall(r"^```console\n(.*?)^```", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("ralo ")]


@pytest.mark.parametrize("line", console_lines())
def test_a_command_that_is_shown_exists_with_its_options(line):
    _, name, *arguments = shlex.split(line)
    command = load_object(Registry(PluginHost().load()).commands()[name].item.target)
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    known = {
        o for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_the_description_of_a_cluster_is_a_valid_configuration():
    text = (DOCS / "clusters.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, flags=re.M | re.S)
    config = resolve([Layer("docs", tomllib.loads(block))], Registry(PluginHost().load()))
    assert config.section(LaunchSettings).trainers.nodes == 2


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
