"""The worker processes: so many samplers and trainers, each replaced when it is gone.

They are forked from a process
that has imported everything, so that a thousand of them cost little; each has a name of its own.
"""

import multiprocessing
import os
import signal

from chaos.workers import work

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["chaos.workers"])


class Crew:
    """`sizes` says how many of each role; journals go to `folder`."""

    def __init__(self, sizes, url, folder):
        self._url, self._folder = url, folder
        self._made = 0
        self._places = [role for role, size in sizes.items() for _ in range(size)]
        self._processes = [self._start(role) for role in self._places]
        self.failed = []

    def kill(self, role, dice):
        """Kill one of `role` with -9; its place is filled again by `keep_up`."""
        places = [place for place, other in enumerate(self._places) if other == role]
        process = self._processes[dice.choice(places)]
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    def keep_up(self):
        """Replace who was killed; note who ended by itself in a bad way."""
        for place, process in enumerate(self._processes):
            if process.exitcode is None or process.exitcode == 0:
                continue
            if process.exitcode != -signal.SIGKILL:
                self.failed.append((process.name, process.exitcode))
            self._processes[place] = self._start(self._places[place])

    def all_done(self):
        """Say whether everybody has heard that the run is over."""
        return all(process.exitcode == 0 for process in self._processes)

    def end(self):
        """Kill whoever is left."""
        for process in self._processes:
            if process.exitcode is None:
                process.kill()
                process.join()

    def _start(self, role):
        self._made += 1
        name = f"{role}-{self._made}"
        journal = str(self._folder / f"{name}.jsonl")
        process = _FORKS.Process(target=work, args=(role, name, self._url, journal), name=name)
        process.start()
        return process
