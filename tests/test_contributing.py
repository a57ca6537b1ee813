"""The recipe of CONTRIBUTING.md for a primitive, as written there, gives a primitive that works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

CHECK = """
x = np.array([-2.0, -0.25, 0.5, 3.0], np.float64)
assert np.array_equal(softsign(x), x / (1 + np.abs(x)))
step = 1e-6
slope = (softsign(x + step) - softsign(x - step)) / (2 * step)
(rule,) = softsign.jvp
np.testing.assert_allclose(rule(np.ones(4), x, softsign(x)), slope, rtol=1e-8)
"""


def test_the_recipe_for_a_primitive():
    """In a process of its own: the registry keeps what is registered."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    run = subprocess.run([sys.executable, "-c", block + CHECK], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
