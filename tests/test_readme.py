"""Every block of README.md is run: Python sessions as doctests, console commands for what they start."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from graphad import cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line for kind, block in BLOCKS if kind == "console" for line in block.splitlines()]
COMMANDS = [line.removeprefix("$ ").split("  #")[0].strip() for line in LINES]


def test_every_block_is_of_a_kind_that_is_run():
    assert {kind for kind, _ in BLOCKS} == {"python", "console"}


def test_sessions_give_what_they_show():
    session = doctest.DocTestParser().get_doctest(TEXT, {}, "README.md", "README.md", 0)
    assert len(session.examples) > 8
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=flags).run(session, out=report.append)
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_start(command, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(command)
    if program == "make":
        run = subprocess.run(["make", "--dry-run", *arguments], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    elif program == "python":
        assert (ROOT / arguments[0]).is_file()
    else:
        assert program == "graphad"
        assert cli.main(arguments) == 0
        assert "loss" in capsys.readouterr().out
