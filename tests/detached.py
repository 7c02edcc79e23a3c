"""Run a command as ``nohup``, a script's ``&`` and some CI runners do: SIGINT is ignored, there is
no terminal, and what it prints goes through a pipe.

    python detached.py COMMAND [ARGUMENT...]
"""

import shutil
import signal
import subprocess
import sys


def main(command):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by everything that is started below
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    shutil.copyfileobj(process.stdout, sys.stdout.buffer, length=1)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
