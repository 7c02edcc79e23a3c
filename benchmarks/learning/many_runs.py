"""Many independent runs side by side, one thread each; what is done is kept and not repeated.

    run_all(cases, work, folder): a line of JSON per case in folder/results.jsonl

The scripts beside this module say what a case is and what it measures.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from ralo_tasks.tiny_model.model import make_tiny_model

Case = Mapping[str, Any]


def run_all(
    cases: Sequence[Case], work: Callable[[Case, Path], Case], folder: Path
) -> list[dict[str, Any]]:
    """Return ``{**case, **work(case, model)}`` of every case, in no order.

    `work` gets the embedded model of the case's seed, and a process with one thread.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for seed in sorted({case["seed"] for case in cases}):
        make_tiny_model(_model(folder, seed), seed)
    results = folder / "results.jsonl"
    done = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    known = [{key: row.get(key) for key in cases[0]} for row in done]
    open_cases = [case for case in cases if dict(case) not in known]
    with (
        results.open("a") as file,
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _one_thread) as pool,
    ):
        running = {
            pool.submit(work, case, _model(folder, case["seed"])): case for case in open_cases
        }
        for future in as_completed(running):
            done.append({**running[future], **future.result()})
            print(json.dumps(done[-1]), file=file, flush=True)
            print(f"{len(done)} of {len(known) + len(running)}", running[future], flush=True)
    wanted = [dict(case) for case in cases]
    return [row for row in done if {key: row.get(key) for key in cases[0]} in wanted]


def _model(folder: Path, seed: int) -> Path:
    return folder.parent / "models" / f"seed{seed}"


def _one_thread() -> None:
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
