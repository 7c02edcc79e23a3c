"""The folders of the trainer are stages: each imports only those before it."""

import re
from pathlib import Path

import pytest

import ralo_worker.trainer

STAGES = ("layout", "compute", "parallel", "exchange")
ROOT = Path(ralo_worker.trainer.__file__).parent


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_itself_earlier_stages_and_what_belongs_to_none(stage):
    allowed = {*STAGES[: STAGES.index(stage) + 1], "phases"}
    found = {
        (file.name, imported)
        for file in (ROOT / stage).glob("*.py")
        for imported in re.findall(r"ralo_worker\.trainer\.(\w+)", file.read_text("utf-8"))
    }
    assert {imported for _, imported in found} - {*STAGES, "phases"} == set()
    assert {each for each in found if each[1] not in allowed} == set()


def test_every_folder_is_a_stage():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == set(STAGES)
