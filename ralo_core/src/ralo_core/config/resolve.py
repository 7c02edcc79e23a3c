"""Layers in, one typed `Config` out, or one `ConfigError` with every fault of all sections.

The command line and the orchestrator check everything (`resolve`). A worker rebuilds the config of
its run from plain data and checks the sections of its role alone (`from_data`): it need not have
the plugins of the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from ralo_core.components import BuildContext
from ralo_core.config.layers import Layer, merge
from ralo_core.config.renamed import without_renamed
from ralo_core.config.settings import FIXED
from ralo_core.errors import ConfigError, PluginError, UnknownComponentError, nearest
from ralo_core.kinds import SECTIONS, Kind
from ralo_core.registry import Registry
from ralo_core.structuring import structure, unstructure

T = TypeVar("T")

DEFAULTS: dict[str, Any] = {
    section: {kind.key: list(kind.default) if isinstance(kind.default, tuple) else kind.default}
    for section, kind in SECTIONS.items()
}
"""The lowest layer: the component of each kind where no layer chooses one."""


@attrs.frozen(kw_only=True)
class Config:
    """A resolved config: `data` is plain and complete, `sources` says where each value is from."""

    data: Mapping[str, Any]
    sources: Mapping[str, str]
    registry: Registry

    def section(self, kind: type[T]) -> T:
        """Return a fixed section as its settings object, e.g. ``section(ServerSettings)``."""
        name = next(name for name, cls in FIXED.items() if cls is kind)
        return structure(self.data[name], kind, name)

    def chosen(self, section: str) -> str:
        """Return the component name that ``[section] use`` selects."""
        return str(self.data[section]["use"])

    def names(self, section: str) -> list[str]:
        """Return the names of all components that ``[section]`` selects, one or a pipeline."""
        chosen = self.data[section][SECTIONS[section].key]
        return list(chosen) if SECTIONS[section].many else [chosen]

    def build(self, section: str, context: BuildContext) -> Any:
        """Return the object of the component that ``[section]`` selects."""
        return self.build_named(section, self.chosen(section), context)

    def build_named(self, section: str, name: str, context: BuildContext) -> Any:
        """Return the object of component `name` of `section`, with its configured settings."""
        kind = SECTIONS[section].name
        cls = self.registry.settings_class(kind, name)
        table = self.data[section].get(name, {})
        settings = None if cls is None else structure(table, cls, f"{section}.{name}")
        return self.registry.build(
            kind, name, settings, attrs.evolve(context, config=self.data, seed=self.seed)
        )

    def build_pipeline(self, section: str, context: BuildContext) -> dict[str, Any]:
        """Return the objects of a pipeline section by name, in the configured order."""
        names: Sequence[str] = self.data[section]["pipeline"]
        return {name: self.build_named(section, name, context) for name in names}

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.data["run"]["seed"])


def resolve(layers: Iterable[Layer], registry: Registry) -> Config:
    """Merge `layers` over the defaults and check everything; raises `ConfigError`."""
    data, sources = merge([Layer("default", DEFAULTS), *layers])
    return _check(data, sources, registry, set(SECTIONS))


def from_data(data: Mapping[str, Any], registry: Registry, sections: Iterable[str]) -> Config:
    """Rebuild a config that another process resolved, checking only the `sections` needed here.

    A section that the data lacks has its default: it was resolved before that kind was there.
    """
    return _check({**DEFAULTS, **data}, {}, registry, set(sections))


def _check(
    data: dict[str, Any], sources: dict[str, str], registry: Registry, sections: set[str]
) -> Config:
    data, faults = without_renamed(data, sources)
    faults += [
        f"[{name}]: unknown section{nearest(name, [*FIXED, *SECTIONS])}"
        for name in data
        if name not in FIXED and name not in SECTIONS
    ]
    full: dict[str, Any] = {}
    for name, cls in FIXED.items():
        full[name] = _structured(data.get(name, {}), cls, name, faults)
    for name, kind in SECTIONS.items():
        table = data.get(name, {})
        if not isinstance(table, Mapping):
            faults.append(f"{name}: expected a table, got {table!r}")
        elif name in sections:
            full[name] = _component_section(table, kind, registry, faults)
        else:
            full[name] = dict(table)
    if faults:
        raise ConfigError(faults)
    return Config(data=full, sources=sources, registry=registry)


def _component_section(
    table: Mapping[str, Any], kind: Kind, registry: Registry, faults: list[str]
) -> dict[str, Any]:
    section = str(kind.section)
    full: dict[str, Any] = {}
    names = _chosen_names(table, kind, faults)
    for key in ("use", "pipeline", "weights"):
        if key in table:
            full[key] = table[key]
    if kind.weighted:
        full["weights"] = _weights(table.get("weights", {}), section, names, faults)
    tables = {key: value for key, value in table.items() if key not in full}
    for name in dict.fromkeys([*names, *tables]):
        try:
            cls = registry.settings_class(kind.name, name)
        except UnknownComponentError as error:
            faults.append(f"{section}.{name}: {error}" if name in tables else f"{section}: {error}")
            continue
        except PluginError as error:
            faults.append(f"{section}: {error}")
            continue
        if cls is not None:
            full[name] = _structured(tables.get(name, {}), cls, f"{section}.{name}", faults)
        elif name in tables:
            faults.append(f"{section}.{name}: the {kind.name} '{name}' has no options")
    return full


def _chosen_names(table: Mapping[str, Any], kind: Kind, faults: list[str]) -> list[str]:
    key, wrong = kind.key, "use" if kind.many else "pipeline"
    if wrong in table:
        faults.append(f"{kind.section}.{wrong}: this section takes '{key}' instead")
    value = table.get(key)
    names = value if kind.many else [value]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        expected = "a list of component names" if kind.many else "a component name"
        faults.append(f"{kind.section}.{key}: expected {expected}, got {value!r}")
        return []
    return list(names)


def _weights(value: Any, section: str, names: Sequence[str], faults: list[str]) -> dict[str, float]:
    """Return the factor of each component in the total, 1 where none is given."""
    weights = _structured(value, dict[str, float], f"{section}.weights", faults)
    for name in weights:
        if name not in names:
            faults.append(f"{section}.weights.{name}: not in the pipeline{nearest(name, names)}")
    return {name: weights.get(name, 1.0) for name in names}


def _structured(value: Any, cls: Any, where: str, faults: list[str]) -> Any:
    try:
        return unstructure(structure(value, cls, where))
    except ConfigError as error:
        faults.extend(error.faults)
        return {}
