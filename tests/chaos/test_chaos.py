"""The short form of the chaos test; ``nox -s chaos`` is the long one."""

import pytest

from chaos.harness import ChaosRun
from chaos.verdict import judge, report


@pytest.mark.slow
def test_a_run_that_is_killed_cut_off_and_sent_things_twice_loses_and_doubles_nothing(tmp_path):
    run = ChaosRun(tmp_path, kills=20, seed=0)
    injuries, stats = run.execute()
    print(report(injuries, stats))
    judge(run, injuries, stats)
