"""``ralo launch slurm``: what is submitted, how a job ends and starts again, and a real scheduler.

The dry run and what submitit calls in a job are tested everywhere; a real SLURM where there is one
(``sbatch`` answers, and its nodes see the temporary folder).
"""

import json
import pickle
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from patience import PATIENCE
from served_run import ServedRun
from test_training_run import SETTINGS, command, ralo

from ralo.launch.job import Job, first_host, place
from ralo.launch.plan import HEAD, HOST, JOB, NODE, PORT, Process
from ralo_core.errors import RaloError

submitit = pytest.importorskip("submitit")


def scripts(run_dir, *settings):
    """Return the script of every job of a dry run, each with the lines of what it runs."""
    assignments = [part for text in ("run.model=m", *settings) for part in ("--set", text)]
    text = ralo("launch", "slurm", "--plugin", "grpo", "--run-dir", str(run_dir), "--dry-run",
                *assignments)  # fmt: skip
    assert not run_dir.exists(), "it was dry"
    return re.split(r"\n(?=# runs: ralo (?:sample|train))", text)


def options(script):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", script, re.M))


def test_every_setting_is_in_the_script(tmp_path):
    serve, *samplers, one, two = scripts(
        tmp_path / "run", "launch.samplers.count=2", "launch.samplers.gpus=1",
        "launch.samplers.memory_gb=32", "launch.samplers.partition=gpu",
        "launch.samplers.minutes=30", "launch.samplers.options={account='lab',qos='low'}",
        "launch.samplers.setup=['module load cuda']", "launch.trainers.count=2",
        "launch.trainers.nodes=2", "launch.trainers.processes=4", "launch.trainers.cpus=3",
        "launch.trainers.gpus=4", "launch.orchestrator.cpus=5",
    )  # fmt: skip
    sampler = samplers[-1]  # the array's commands stand on top of its script
    assert len(samplers) == 2
    common = {"requeue": "", "signal": "USR1@90", "ntasks-per-node": "1"}
    for script in (serve, sampler, one, two):
        assert common.items() <= options(script).items()
        assert "export SUBMITIT_PREEMPT_SIGNAL=USR1" in script
    assert options(serve)["cpus-per-task"] == "5"
    assert "array" not in options(serve)
    expected = {
        "array": "0-1%2", "gpus-per-node": "1", "mem": "32GB", "partition": "gpu", "time": "30",
        "account": "lab", "qos": "low", "nodes": "1", "cpus-per-task": "2",
    }  # fmt: skip
    assert expected.items() <= options(sampler).items()
    assert "\nmodule load cuda\n" in sampler
    for script in (one, two):
        expected = {"nodes": "2", "cpus-per-task": "12", "gpus-per-node": "4"}
        assert expected.items() <= options(script).items()
        assert "--nproc 4 --nnodes 2" in script
    assert "token" not in "".join((serve, *samplers, one, two)).replace("--hide-tokens", "")


def test_a_single_process_needs_no_ranks_and_a_single_sampler_no_array(tmp_path):
    _, sampler, trainer = scripts(tmp_path / "run")
    assert f"runs: ralo train --server {tmp_path}/run\n" in trainer
    assert "array" not in options(sampler)


def test_a_fault_in_the_section_is_told_like_any_other(tmp_path):
    done = subprocess.run(
        command("launch", "slurm", "--run-dir", str(tmp_path), "--set", "launch.sampler.count=1",
                "--set", "launch.trainers.nodes=0", "--set", "trainer.batch_trees=x"),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    for fault in ("launch: unknown key 'sampler'", "launch.trainers.nodes: must be above 0",
                  "trainer.batch_trees: expected int"):  # fmt: skip
        assert fault in done.stderr


def test_without_submitit_the_pip_command_is_named(tmp_path):
    code = (
        "import importlib.util as u, sys; found = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'submitit' else found(name, *rest); "
        "from ralo_core.cli.main import main; main(sys.argv[1:])"
    )
    arguments = ["launch", "slurm", "--plugin", "grpo", "--run-dir", str(tmp_path), "--dry-run"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'ralo[slurm]'" in done.stderr


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu003", "gpu003"), ("gpu[003-004,9]", "gpu003"), ("a1,b[2-3]", "a1"),
     ("rack[12]-n", "rack12-n"), ("x[07,09-11],y1", "x07")],
)  # fmt: skip
def test_the_first_of_the_machines(nodes, first):
    assert first_host(nodes) == first


def test_what_only_the_machine_knows_is_put_into_the_command():
    process = Process(name=f"train-0-{NODE}", arguments=[f"{HEAD}:{PORT}", JOB, HOST, "${other}"])
    known = place({"SLURM_JOB_ID": "10123", "SLURM_JOB_NODELIST": "n[4-5]", "SLURM_NODEID": "1"})
    made = process.on(known)
    assert made.name == "train-0-1"
    meeting, job, host, other = made.arguments
    assert re.fullmatch(r"n4:2\d{4}", meeting)
    assert (job, other) == ("10123", "${other}")
    assert host
    again = place({"SLURM_JOB_ID": "10123", "SLURM_JOB_NODELIST": "n[4-5]", "SLURM_NODEID": "0"})
    assert process.on(again).arguments[0] == meeting, "all machines meet at one place"


@pytest.mark.slow
def test_a_preempted_job_leaves_in_order_and_goes_on_when_it_is_requeued(
    model, tmp_path, own_reward, monkeypatch
):
    """What submitit does on the signal: `checkpoint`, and later a call of what that returned."""
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    settings = ("server.port=0", "engine.use=fake", "evaluation.problems=0",
                "server.queued_trees=100000", "server.lease_seconds=3600")  # fmt: skip
    run = ServedRun(tmp_path, f"run.model={model}", *settings, *own_reward)
    process = Process(name="sample-0", arguments=["sample", "--server", str(run.directory)])
    job = Job(run.directory, process)
    try:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(job)
            run.wait_for(lambda: run.stats().trees.queued > 5)
            requeued = pickle.loads(pickle.dumps(job.checkpoint().function))
            first.result(PATIENCE)
            stats = run.stats()
            assert [worker.state for worker in stats.workers] == ["left"]
            assert (stats.problems.leased, stats.problems.failed) == (0, 0)
            second = pool.submit(requeued)
            done = stats.trees.queued
            run.wait_for(lambda: run.stats().trees.queued > done)
            requeued.checkpoint()
            second.result(PATIENCE)
    finally:
        run.close()


@pytest.mark.slow
def test_a_job_whose_process_cannot_be_kept_running_says_why(tmp_path):
    job = Job(tmp_path, Process(name="broken", arguments=["plugins", "--no-such-option"]))
    with pytest.raises(RaloError, match="(?s)broken failed.*No such option"):
        job()


def has_slurm():
    if shutil.which("sbatch") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_slurm(), reason="there is no SLURM here: sbatch, sinfo")
def test_a_run_on_a_real_slurm_survives_preemption(model, tmp_path, own_reward, monkeypatch):
    monkeypatch.setenv("RALO_CACHE", str(tmp_path / "cache"))
    run_dir = tmp_path / "run"
    launch = [f"launch.{part}.cpus=1" for part in ("orchestrator", "samplers", "trainers")]
    settings = (f"run.model={model}", *SETTINGS, *own_reward, *launch, "launch.samplers.count=2",
                "engine.use=fake", "evaluation.problems=0")  # fmt: skip
    arguments = ["--plugin", "grpo", "--tiny", "--run-dir", str(run_dir)]
    arguments += [part for setting in settings for part in ("--set", setting)]
    output = ralo("launch", "slurm", *arguments)
    serve, samplers, trainer = re.search(r"jobs (\d+), (\d+), (\d+)", output).groups()
    try:
        dry = ralo("launch", "slurm", *arguments, "--dry-run")
        assert (run_dir / "jobs" / f"{samplers}_submission.sh").read_text().strip() in dry
        wait_for_steps(run_dir, 3)
        subprocess.run(["scancel", "--signal=USR1", f"{samplers}_0"], check=True)
        wait_until(lambda: "Requeued job" in (run_dir / f"jobs/{samplers}_0_0_log.out").read_text())
        workers = stats_of(run_dir).workers
        assert sorted(w.state for w in workers if w.role == "sampler") == ["alive", "left"]
        wait_for_steps(run_dir, stats_of(run_dir).step + 3)
        # An orchestrator that is requeued comes back, and does not take its workers with it.
        subprocess.run(["scontrol", "requeue", serve], check=True)
        wait_until(lambda: f"{serve} PENDING" in queued("%i %T", serve))
        assert f"{trainer} RUNNING" in queued("%i %T", trainer)
        subprocess.run(["scontrol", "update", f"JobId={serve}", "StartTime=now"], check=True)
        wait_until(lambda: f"{serve} RUNNING" in queued("%i %T", serve))
        wait_for_steps(run_dir, 9)
        ralo("stop", str(run_dir), "--wait")
        # The requeued sampler still waits in the queue: it must not wait for a run that is over.
        wait_until(lambda: not queued("%i", serve, samplers, trainer))
    finally:
        subprocess.run(["scancel", serve, samplers, trainer], check=False)


def queued(shown, *jobs):
    command = ["squeue", "-h", "-o", shown, "-j", ",".join(jobs)]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


def stats_of(run_dir):
    return json.loads(ralo("status", str(run_dir), "--json"))


def wait_for_steps(run_dir, steps):
    wait_until(lambda: reached(run_dir) >= steps)


def reached(run_dir):
    """Return the step, -1 while nobody answers."""
    done = subprocess.run(command("status", str(run_dir), "--json"), capture_output=True, text=True)
    return json.loads(done.stdout)["step"] if done.returncode == 0 else -1


def wait_until(condition, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)
