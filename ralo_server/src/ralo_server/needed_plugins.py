"""Which plugins a worker must have: those that own the components the config names.

The list is made when a run is prepared and written into its config.json, because later processes
need not have every plugin. ``/worker/register`` compares a worker's plugins with it.
"""

from collections.abc import Iterable, Mapping, Sequence

from ralo_core.config import Config
from ralo_core.kinds import SAMPLER, SECTIONS, WORKERS, sections_of


def needed_plugins(config: Config, graders: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """Return per role the plugins as ``{"name", "distribution", "version"}``.

    `graders` are the reward components by which samplers grade the responses to benchmarks.
    """
    named = {role: _components(config, sections_of(role)) for role in WORKERS}
    named[SAMPLER] += [("reward", grader) for grader in graders]
    return {role: _plugins(config, components) for role, components in named.items()}


def complaint(needed: Sequence[Mapping[str, str]], offered: Sequence[Mapping[str, str]]) -> str:
    """Return what a worker lacks with the pip command that mends it, ``""`` if it has all."""
    have = {plugin["distribution"]: plugin["version"] for plugin in offered}
    faults, mends = [], []
    for plugin in needed:
        name, version = plugin["distribution"], plugin["version"]
        if have.get(name) == version:
            continue
        found = f"this worker has {have[name]}" if name in have else "this worker does not have it"
        faults.append(f"the run uses plugin '{plugin['name']}' of {name} {version}, {found}")
        mends.append(f"'{name}=={version}'")
    return f"{'; '.join(faults)}. Mend it with: pip install {' '.join(mends)}" if faults else ""


def _components(config: Config, sections: Sequence[str]) -> list[tuple[str, str]]:
    """Return (section, name) of what `sections` choose."""
    return [(section, name) for section in sections for name in config.names(section)]


def _plugins(config: Config, components: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    found = {}
    for section, name in components:
        plugin = config.registry.find(SECTIONS[section].name, name).plugin
        found[plugin.name] = {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
        }
    return list(found.values())
