"""vLLM's processes belong to the sampler: they end with it, and Ctrl-C is the sampler's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, sys
from pathlib import Path
from ralo_core import BuildContext, GenerationRequest
from ralo_worker.engines.vllm.opening import open_engine
from ralo_worker.engines.vllm.settings import VllmSettings

async def work(engine):
    asyncio.get_running_loop().add_signal_handler(2, lambda: print("interrupted", flush=True))
    print("ready", flush=True)
    while True:
        await engine.generate([GenerationRequest(prompt=(3, 4), max_tokens=200)] * 50)
        print("answered", flush=True)

if __name__ == "__main__":
    settings = VllmSettings(engine_args={"kv_cache_memory_bytes": 2**26})
    engine = open_engine(settings, BuildContext(role="sampler", model_dir=Path(sys.argv[1])))
    asyncio.run(work(engine))
"""


def descendants(pid):
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    parents = dict(map(int, line.split()) for line in listing.stdout.splitlines())
    found, below = set(), {pid}
    while below:
        below = {child for child, parent in parents.items() if parent in below} - found
        found |= below
    return found


@pytest.fixture
def sampler(models, tmp_path):
    (tmp_path / "sampler.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "sampler.py"), str(models(0, tied=True)[0])],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for("ready", process)
    yield process
    process.kill()


def wait_for(word, process):
    while line := process.stdout.readline():
        if word in line:
            return
    raise AssertionError(f"the sampler ended before it said '{word}'")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_they_outlive_ctrl_c_and_end_with_a_sampler_that_is_killed(sampler):
    below = descendants(sampler.pid)
    assert len(below) >= 2
    os.killpg(sampler.pid, signal.SIGINT)  # as a terminal does
    wait_for("interrupted", sampler)
    for _ in range(3):  # the first may have been under way, and answered, before
        wait_for("answered", sampler)
    sampler.kill()
    deadline = time.monotonic() + 60
    while any(map(alive, below)):
        assert time.monotonic() < deadline, f"{below} are left behind"
        time.sleep(0.1)
