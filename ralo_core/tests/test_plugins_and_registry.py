"""Everything a plugin author can get wrong, with the words they then read."""

import logging
import types

import attrs
import pytest

from ralo_core import BuildContext, Component, Recipe, hookimpl, setting
from ralo_core.config import resolve, set_layer
from ralo_core.errors import ConfigError, PluginError, UnknownComponentError
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry

GOOD = """
from ralo_core import Component, hookimpl
@hookimpl
def ralo_register_rewards():
    return [Component(name="{name}", factory="{module}:Reward")]
class Reward:
    def __init__(self, settings, context): self.context = context
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a distribution with one plugin module for this test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(distribution, plugin, module, code, version="1.0"):
        (tmp_path / f"{module}.py").write_text(code)
        folder = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {distribution}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(f"[ralo]\n{plugin} = {module}\n")

    return make


def host_with(**modules):
    host = PluginHost()
    for name, members in modules.items():
        host.register(types.SimpleNamespace(**members), name, f"ralo-{name}")
    return host


def registering(hook, *items):
    def implementation():
        return items

    implementation.__name__ = hook
    return {hook: hookimpl(implementation)}


def test_an_installed_plugin_is_found_with_its_distribution_and_version(install):
    install(
        "ralo-shout", "shout", "shout_mod", GOOD.format(name="shout", module="shout_mod"), "2.5"
    )
    host = PluginHost().load()
    info = host.plugins["shout"]
    assert (info.state, info.distribution, info.version) == ("active", "ralo-shout", "2.5")
    entry = Registry(host).find("reward", "shout")
    assert entry.plugin is info
    built = Registry(host).build("reward", "shout", None, BuildContext(role="sampler", seed=4))
    assert built.context.seed == 4


def test_a_plugin_that_fails_to_import_is_named_and_the_others_go_on(install, caplog):
    install("ralo-bad", "bad", "bad_mod", "import nowhere_to_be_found\n")
    install("ralo-fine", "fine", "fine_mod", GOOD.format(name="fine", module="fine_mod"))
    with caplog.at_level(logging.WARNING):
        host = PluginHost().load()
    assert host.plugins["fine"].state == "active"
    bad = host.plugins["bad"]
    assert bad.state == "failed"
    assert "No module named 'nowhere_to_be_found'" in bad.error
    assert "bad_mod.py" in bad.trace
    assert "bad (ralo-bad 1.0)" in caplog.text
    with pytest.raises(UnknownComponentError, match=r"plugin bad \(ralo-bad 1.0\) failed to load"):
        Registry(host).find("reward", "bad_reward")


def test_strict_hosts_raise(install, monkeypatch):
    install("ralo-bad", "bad", "bad_mod", "1/0\n")
    with pytest.raises(PluginError, match="bad .*ZeroDivisionError"):
        PluginHost(strict=True).load()
    monkeypatch.setenv("RALO_PLUGINS_STRICT", "1")
    with pytest.raises(PluginError, match="ralo-bad"):
        PluginHost().load()


def test_a_disabled_plugin_is_not_imported(install):
    install("ralo-bad", "bad", "bad_mod", "1/0\n")
    host = PluginHost(disabled=["bad"], strict=True).load()
    assert host.plugins["bad"].state == "disabled"


def test_two_distributions_with_one_plugin_name_are_both_named(install):
    install("ralo-one", "same", "one_mod", "")
    install("ralo-two", "same", "two_mod", "")
    with pytest.raises(PluginError, match="'same': ralo-one and ralo-two; uninstall one"):
        PluginHost().load()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (registering("ralo_register_reward"), "no hook ralo_register_reward; did you mean"),
        ({"ralo_register_rewards": lambda: []}, "lacks the @hookimpl decorator"),
        (
            registering("ralo_register_evaluators"),
            "register_evaluators; it is called ralo_register_benchmarks now",
        ),
        (
            registering("ralo_register_aggregation_policies"),
            "register_aggregation_policies; it is called ralo_register_aggregators now",
        ),
        (
            registering("ralo_register_optimizer_policies"),
            "register_optimizer_policies; it is called ralo_register_optimizers now",
        ),
    ],
)
def test_a_hook_that_cannot_be_is_refused_at_load(members, message):
    with pytest.raises(PluginError, match=message):
        host_with(mine=members)


def test_a_wrong_argument_is_refused_at_load():
    @hookimpl
    def ralo_run_started(run_name):
        pass

    with pytest.raises(PluginError, match="run_name"):
        host_with(mine={"ralo_run_started": ralo_run_started})


def test_two_plugins_with_one_component_are_both_named():
    component = Component(name="same", factory=object)
    host = host_with(
        one=registering("ralo_register_losses", component),
        two=registering("ralo_register_losses", component),
    )
    with pytest.raises(PluginError, match=r"loss 'same': (one|two) \(ralo-.*and (one|two) \(ralo-"):
        Registry(host)


def test_a_hook_that_returns_something_else_is_named():
    host = host_with(mine=registering("ralo_register_losses", Recipe(name="r", defaults={})))
    with pytest.raises(PluginError, match=r"ralo_register_losses\(\) must return Component"):
        Registry(host)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    registry = Registry(PluginHost().load())
    with pytest.raises(UnknownComponentError, match="did you mean 'exact'.*known: .*format"):
        registry.find("reward", "exakt")
    with pytest.raises(UnknownComponentError, match="pip install ralo-treepoo"):
        registry.recipe("treepoo")


def test_a_factory_that_cannot_be_imported_names_component_and_plugin():
    component = Component(name="lost", factory="not_there:Thing")
    registry = Registry(host_with(mine=registering("ralo_register_rewards", component)))
    with pytest.raises(
        PluginError, match=r"reward 'lost' of plugin mine \(ralo-mine 0\).*not_there"
    ):
        registry.build("reward", "lost", None, BuildContext(role="cli"))


@pytest.mark.parametrize("name", ["Upper", "with-dash", "1st", ""])
def test_a_name_the_config_could_not_say_is_refused(name):
    with pytest.raises(ValueError, match="name"):
        Component(name=name, factory=object)


@attrs.frozen(kw_only=True)
class Settings:
    limit: int = setting(3, "a bound")


def test_options_are_checked_with_path_type_and_nearest_name():
    component = Component(name="mine", factory=lambda settings, context: settings, config=Settings)
    host = PluginHost().load()
    host.register(
        types.SimpleNamespace(**registering("ralo_register_rewards", component)), "m", "ralo-m"
    )
    registry = Registry(host)
    base = ["run.model=x", "reward.pipeline=['mine']"]
    config = resolve([set_layer([*base, "reward.mine.limit=7"])], registry)
    built = config.build_pipeline("reward", BuildContext(role="sampler"))
    assert built["mine"].limit == 7
    with pytest.raises(ConfigError) as caught:
        resolve([set_layer([*base, "reward.mine.limt=7", "reward.mine.limit='7'"])], registry)
    faults = "\n".join(caught.value.faults)
    assert "reward.mine: unknown key 'limt'; did you mean 'limit'" in faults
    assert "reward.mine.limit: expected int, got '7'" in faults


def test_an_event_reaches_everybody_and_a_failing_observer_is_isolated(caplog):
    seen = []

    @hookimpl
    def ralo_run_finished(step):
        seen.append(step)

    @hookimpl(specname="ralo_run_finished")
    def broken(run):
        raise RuntimeError(run)

    broken.__name__ = "ralo_run_finished"
    host = host_with(
        first={"ralo_run_finished": ralo_run_finished}, second={"ralo_run_finished": broken}
    )
    with caplog.at_level(logging.ERROR):
        for step in range(8):
            host.notify("ralo_run_finished", run="r", step=step)
    assert seen == list(range(8))
    assert caplog.text.count("plugin second failed in event ralo_run_finished") == 5


def test_a_plugin_that_the_environment_disables_is_left_out(install, monkeypatch):
    install("ralo-one", "one", "one_env_mod", "raise AssertionError('imported')")
    monkeypatch.setenv("RALO_PLUGINS_DISABLE", "one,other")
    assert PluginHost().load().plugins["one"].state == "disabled"
