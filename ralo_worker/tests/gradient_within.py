"""Computes one gradient with little memory left, in a process of its own, and saves it.

    python gradient_within.py MIB OUTPUT [SETTING...]

The limit is set on the address space, so that it is a real allocation that fails.
"""

import logging
import resource
import sys
from pathlib import Path

import torch
from out_of_memory_case import computation, trees
from safetensors.torch import save_file

from ralo_core import RaloError


def allow(mib):
    """Let the process take `mib` MiB more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + (mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main():
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(1)
    mib, output, *settings = sys.argv[1:]
    computing, batch = computation(*settings), trees()
    if int(mib):
        allow(int(mib))
    for name in ("first", "second"):
        try:
            gradient = computing.gradient(batch, 0)
        except RaloError as error:
            sys.exit(str(error))
        logging.warning("%s gradient done", name)
    save_file(gradient.tensors, output, {"weight": str(gradient.weight)})


if __name__ == "__main__":
    main()
