"""What a gradient takes of memory and time with every setting that saves memory, and with all.

A model of 103 million parameters and 76,800 words, a sequence of 4,096 tokens. Every row is a
process of its own. Memory is what comes on top of the model (its weights are 411 MB), on a GPU if
there is one; the gradient itself is 411 MB of it. The last column says how far the gradient is from
that of the first row.

    python benchmarks/trainer_memory.py [THREADS]
"""

import sys
import tempfile
from typing import Any

from contestants.measuring import run_contestant

WHOLE_HEAD = "trainer.head_chunk_mb=0"
HALF, ALL = "trainer.checkpoint_layers=0.5", "trainer.checkpoint_layers=1"
BFLOAT16, OFFLOADED = "trainer.precision=bfloat16", "trainer.offload_gradients=true"
ROWS = {
    "nothing (`head_chunk_mb` = 0)": [WHOLE_HEAD],
    "`head_chunk_mb` = 64, the default, as in all rows below": [],
    "`checkpoint_layers` = 0.5": [HALF],
    "`checkpoint_layers` = 1": [ALL],
    "`precision` = bfloat16": [BFLOAT16],
    "`offload_gradients` = true": [OFFLOADED],
    "all of them": [ALL, BFLOAT16, OFFLOADED],
}
HEADER = """\
| | MB beyond the model | seconds | CPU seconds | gradient differs by |
|---|---|---|---|---|"""


def line(name: str, report: dict[str, Any]) -> str:
    """Return a row of the table."""
    return (
        f"| {name} | {report['bytes'] / 1e6:,.0f} | {report['seconds']:.0f} "
        f"| {report['cpu_seconds']:.0f} | {report['distance']:.0e} |"
    )


def main() -> None:
    """Print a line per setting."""
    threads = sys.argv[1] if len(sys.argv) > 1 else "1"
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in ROWS.items():
            report = run_contestant("trainer_gradient", folder, threads, *settings)
            print(line(name, report), flush=True)
    print(f"\n{report['parameters']:,} parameters, {report['device']}")


if __name__ == "__main__":
    main()
