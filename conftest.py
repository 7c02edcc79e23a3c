"""What holds for every test, wherever it lies: package names, threads, random numbers, cache.

In importlib mode pytest names a test module after its path, `ralo_server.tests.test_x`, and makes
a namespace package of the folder `ralo_server/` unless that name is already imported. So the
packages are imported here, before pytest does it.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import os
import random
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Several tests run at once (`nox -s tests`), so each process computes with one thread. This must be
# set before torch is imported, here or in a process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Almost every test opens the plugins. To look through all that is installed takes most of the time
# of that, so each path is looked through once. The modules below take the function from here.
_look = functools.cache(lambda path, *chosen: _entry_points(**dict(chosen)))
_entry_points = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **chosen: _look(tuple(sys.path), *chosen.items())

for package in ("ralo", "ralo_core", "ralo_server", "ralo_worker"):
    with contextlib.suppress(ModuleNotFoundError):  # a session may install only some of them
        importlib.import_module(package)

# Examples have no time limit: what takes a millisecond takes a second on a busy machine.
# `fixed` draws the same examples every time, so the suite's result is that of the code;
# `--hypothesis-profile=random` draws others each time, as `nox -s tests -- random` does.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("random", **UNTIMED)
settings.register_profile("fixed", derandomize=True, **UNTIMED)
settings.load_profile("fixed")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let no test depend on what the test before it left: random numbers, number of threads.

    Some functions of the product set the number of threads for the whole process. A fork of a
    process that has computed with several OpenMP threads hangs when it computes.
    """
    random.seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep weights and models of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
