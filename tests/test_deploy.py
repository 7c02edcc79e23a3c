"""The files in deploy/: units that systemd understands, commands that exist."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ralo_core.plugins import PluginHost
from ralo_core.registry import Registry, load_object

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_in_a_unit(unit, tmp_path):
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/ralo/bin/ralo", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True
    )
    assert [line for line in done.stderr.splitlines() if unit.stem in line] == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_command_of_a_unit_exists_with_its_options(unit):
    (line,) = re.findall(r"^ExecStart=/opt/ralo/bin/ralo (.*)$", unit.read_text(), re.M)
    commands = Registry(PluginHost().load()).commands()
    for role in ("sample", "train") if "%i" in line else ("",):
        name, *arguments = shlex.split(line.replace("%i", role))
        command = load_object(commands[name].item.target)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_the_container_file_copies_what_there_is():
    text = (DEPLOY / "Containerfile").read_text()
    for source in re.findall(r"^COPY (\S+) ", text, re.M):
        assert (DEPLOY.parent / source).exists(), source
    for path in re.findall(r"\./(\S+)", re.sub(r"COPY.*", "", text)):
        assert (DEPLOY.parent / path / "pyproject.toml").exists(), path
