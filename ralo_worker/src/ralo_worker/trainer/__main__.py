"""``python -m ralo_worker.trainer``: a trainer, or one rank of it where torchrun starts several.

Neighbours: it is ``ralo train`` for launchers that want a module; `runtime` does the work.
"""

from ralo_worker.cli.train import rank

rank()
