"""``python -m ralo_worker.trainer``: a trainer, or one rank of it where torchrun starts several.

For launchers that want a module instead of a command. It is an entry point: nothing imports it, so
it may stand on `ralo_worker.cli`, as no other module of the trainer does.
"""

from ralo_worker.cli.train import rank

rank()
