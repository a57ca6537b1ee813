"""Transformed functions keep the signatures of the user's, for editors and type checkers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
USER_CODE = Path(__file__).with_name("user_code.py")


def test_a_type_checker_on_a_users_code(tmp_path):
    """It finds the planted errors, at their lines, and no others; `assert_type` holds."""
    checker = Path(sys.executable).with_name("basedpyright")
    if not checker.exists():
        pytest.skip("basedpyright is not installed")
    settings = {
        "include": [str(USER_CODE)], "extraPaths": [str(ROOT), str(ROOT / "kernels")], "typeCheckingMode": "basic",
        "pythonVersion": "3.11", "venvPath": str(checker.parents[2]), "venv": checker.parents[1].name,
    }  # fmt: skip
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    command = [checker, "--project", project, "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {e["range"]["start"]["line"] + 1: e["message"] for e in json.loads(done.stdout)["generalDiagnostics"]}
    lines = USER_CODE.read_text().splitlines()
    planted = {k for k, line in enumerate(lines, 1) if re.search(r"# error: ", line)}
    unexpected = {f"{k}: {lines[k - 1]}: {message}" for k, message in found.items() if k not in planted}
    assert not unexpected
    assert planted == set(found)
    assert len(planted) >= 20
