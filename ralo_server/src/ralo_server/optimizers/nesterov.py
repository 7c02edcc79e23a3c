"""The `nesterov` optimizer, the outer step of DiLoCo: SGD with Nesterov momentum.

Trainers that take local steps send how far their weights went; it is stepped like a gradient.
"""

import attrs

from ralo_core import BuildContext
from ralo_server.optimizers.settings import NesterovSettings, SgdSettings
from ralo_server.optimizers.sgd import Sgd


class Nesterov(Sgd):
    """Satisfies `ralo_core.protocols.OptimizerFactory`."""

    def __init__(self, settings: NesterovSettings, context: BuildContext) -> None:
        outer = SgdSettings(nesterov=True, **attrs.asdict(settings))
        super().__init__(outer, context)
