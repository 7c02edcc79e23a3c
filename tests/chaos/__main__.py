"""``python -m chaos [KILLS] [SEED] [KILLS_PER_RUN]``: the long form of the chaos test.

Every run has a seed of its own, counted up from SEED; the
directory of one that fails is kept.
"""

import sys
import tempfile
from pathlib import Path

from chaos.harness import ChaosRun
from chaos.verdict import judge, report

_KILLS, _KILLS_PER_RUN = 1000, 250


def main(kills=_KILLS, seed=0, kills_per_run=_KILLS_PER_RUN):
    """Run until `kills` processes were killed."""
    killed = 0
    while killed < kills:
        folder = Path(tempfile.mkdtemp(prefix=f"ralo-chaos-{seed}-"))
        print(f"== seed {seed} in {folder}", flush=True)
        run = ChaosRun(folder, min(kills_per_run, kills - killed), seed)
        injuries, stats = run.execute()
        print(report(injuries, stats), flush=True)
        judge(run, injuries, stats)
        killed, seed = killed + sum(injuries.kills.values()), seed + 1
        print(f"nothing lost, nothing twice after {killed} kills", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
