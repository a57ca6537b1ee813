"""The recipes of CONTRIBUTING.md for a primitive and a routine, as written there, give what works."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from graphad_kernels.routines import ROUTINES

ROOT = Path(__file__).parent.parent

CHECK_PRIMITIVE = """
x = np.array([-2.0, -0.25, 0.5, 3.0], np.float64)
assert np.array_equal(softsign(x), x / (1 + np.abs(x)))
step = 1e-6
slope = (softsign(x + step) - softsign(x - step)) / (2 * step)
(rule,) = softsign.jvp
np.testing.assert_allclose(rule(np.ones(4), x, softsign(x)), slope, rtol=1e-8)
"""

CHECK_ROUTINE = """
import graphad
from graphad.api import stages

rng = np.random.default_rng(0)
for dtype, exact in ((np.float64, 1e-14), (np.float32, 1e-6)):
    a, x, y = (rng.normal(size=size).astype(dtype) for size in ((5, 3), 5, 3))
    value = a + np.outer(x, y)
    compiled = graphad.jit(rank_one)
    np.testing.assert_allclose(rank_one(a, x, y), value, atol=exact)
    np.testing.assert_allclose(compiled(a, x, y), value, atol=exact)
    assert "gk_rank_one_" in stages.compiled(compiled.graph(a, x, y)).llvm

    many = np.stack([a, 2 * a, -a])
    batched = graphad.jit(graphad.vmap(rank_one, in_axes=(0, None, None)))(many, x, y)
    np.testing.assert_allclose(batched, many + np.outer(x, y), atol=exact)

    weights = rng.normal(size=(5, 3)).astype(dtype)
    gradient = graphad.jit(graphad.grad(lambda a, x, y: (rank_one(a, x, y) ** 2 * weights).sum(), argnums=(0, 1, 2)))
    by_a = 2 * value * weights
    for found, wanted in zip(gradient(a, x, y), (by_a, by_a @ y, x @ by_a), strict=True):
        np.testing.assert_allclose(found, wanted, atol=100 * exact)
"""


@pytest.mark.parametrize(("number", "check"), [(0, CHECK_PRIMITIVE), (1, CHECK_ROUTINE)])
def test_the_recipes(number, check, tmp_path):
    """In a process of its own: the registry keeps what is registered."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    environment = {**os.environ, "GRAPHAD_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", blocks[number] + check]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr


#: The floors that speak of routines by their names to nobody: users' functions have names of their own.
MECHANISM = ("ir", "transforms", "passes", "check", "backends", "trace", "api")
#: A schedule for GPUs that sorts, in order to add up in a fixed order, asks for the routine that sorts. And a word of
#: PTX: what is read for the last time.
ALLOWED = {
    ("backends/cuda/schedule/segments.py", "argsort"),
    ("backends/cuda/emulator/instructions/accesses.py", "lu"),
}


def test_nothing_knows_a_routine_by_its_name():
    """But the table, and the primitives that name it."""
    found = set()
    for folder in MECHANISM:
        for path in (ROOT / "graphad" / folder).rglob("*.py"):
            for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
                name = token.string.strip("\"'")
                if token.type == tokenize.STRING and name in ROUTINES:
                    found.add((path.relative_to(ROOT / "graphad").as_posix(), name))
    assert found == ALLOWED


def test_each_routine_is_that_of_a_primitive():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "graphad" / "primitives").rglob("*.py")]
    named = re.compile(r"\b(?:Routine\(\s*|alone=)\"(\w+)\"")
    assert {name for text in texts for name in named.findall(text)} == set(ROUTINES)
