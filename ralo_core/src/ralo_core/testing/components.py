"""Checks an installed component by kind and name, built from its options as the registry builds it.

Which function checks a kind is written in the table of `ralo_core.kinds`.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ralo_core.components import BuildContext
from ralo_core.kinds import KINDS
from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry, load_object
from ralo_core.structuring import structure


def check_component(
    kind: str,
    name: str,
    settings: Mapping[str, Any] | None = None,
    *,
    registry: Registry | None = None,
    model_dir: Path | None = None,
    new_weights: Path | None = None,
) -> None:
    """Build component `name` of `kind` with `settings` (plain data, as in the config) and check it.

    `registry` is that of the installed plugins unless given. Engines need a `model_dir`, and are
    checked with `new_weights`, a directory of other weights of that model, where it is given.
    Raises `AssertionError` for a broken contract, `RaloError` for what cannot be built.
    """
    registry = registry or Registry(PluginHost().load())
    cls = registry.settings_class(kind, name)
    built = None if cls is None else structure(dict(settings or {}), cls, f"{kind}.{name}")
    with tempfile.TemporaryDirectory() as folder:
        context = BuildContext(role="cli", run_dir=Path(folder), model_dir=model_dir)

        def make() -> Any:
            made = registry.build(kind, name, built, context)
            # Components are built where a run is only prepared, too. A checker that builds
            # several also finds what an unused one left here when it was closed.
            assert not list(Path(folder).iterdir()), (
                "a component must write nothing into the run directory before it is used"
            )
            return made

        check = load_object(KINDS[kind].checker)
        options = {} if new_weights is None else {"new_weights": new_weights}
        check(make if KINDS[kind].checker_builds else make(), **options)
