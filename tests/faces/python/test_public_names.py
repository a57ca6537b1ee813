"""What the modules of the faces offer: to ``dir``, and to a type checker."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[3]
FACES = [
    "graphad", "graphad.numpy", "graphad.numpy.linalg", "graphad.lax", "graphad.lax.linalg", "graphad.nn",
    "graphad.nn.initializers", "graphad.random", "graphad.optim", "graphad.train", "graphad.tree", "graphad.tree_util",
    "graphad.flatten_util", "graphad.debug", "graphad.dtypes", "graphad.experimental", "graphad.experimental.ode",
    "graphad.scipy", "graphad.scipy.linalg", "graphad.scipy.sparse", "graphad.scipy.sparse.linalg", "graphad.solve",
]  # fmt: skip


@pytest.mark.parametrize("name", FACES)
def test_dir_lists_what_a_module_offers(name):
    module = importlib.import_module(name)
    listed = dir(module)
    assert listed
    for entry in listed:
        value = getattr(module, entry)
        assert not entry.startswith("_")
        assert not isinstance(value, TypeVar)
        assert not isinstance(value, ModuleType) or value.__name__ in FACES or value.__name__ == "graphad.errors"
        assert getattr(value, "__module__", name) not in ("typing", "__future__"), entry
    known = vars(module).items()
    defined = {entry for entry, value in known if getattr(value, "__module__", None) == name and entry[0] != "_"}
    assert {entry for entry in defined if not isinstance(getattr(module, entry), TypeVar)} <= set(listed)


def test_documented_names_are_listed():
    for name in ("numpy", "lax", "nn", "random", "optim"):
        module = importlib.import_module(f"graphad.{name}")
        imported = (ROOT / "graphad" / name / "__init__.py").read_text(encoding="utf-8")
        public = [line.rpartition(" import ")[2].split(" as ") for line in imported.splitlines() if " import " in line]
        names = {pair[1] for pair in public if len(pair) == 2 and pair[0] == pair[1] and pair[0][0] != "_"}
        assert names <= set(dir(module))


USER = """
import graphad
import graphad.numpy as gnp
from graphad import lax, nn

x = gnp.ones(3)
right = gnp.sin(x), gnp.linalg.norm(x), gnp.pi, lax.exp(x), nn.relu(x), graphad.grad, graphad.optim.adam, x.sum()
a = gnp.sinn(x)
b = lax.expp(x)
c = nn.relo(x)
d = graphad.grda
e = graphad.optim.adamm
f = x.summ()
g = gnp.unique(x)
"""


def test_a_type_checker_sees_misspelt_names(tmp_path):
    checker = shutil.which("basedpyright", path=str(Path(sys.executable).parent))
    if checker is None:
        pytest.skip("basedpyright is not installed")
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(ROOT)], "typeCheckingMode": "basic"}), encoding="utf-8"
    )
    done = subprocess.run(
        [checker, "--outputjson", "user.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    lines = USER.splitlines()
    assert [lines[d["range"]["start"]["line"]][0] for d in found] == list("abcdefg")
    assert {d["rule"] for d in found} == {"reportAttributeAccessIssue"}
