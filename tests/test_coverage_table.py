"""``docs/coverage.md`` says what is so."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import jax
import pytest

DOCS = Path(__file__).parent.parent / "docs"


@cache
def script():
    """The script that writes the table, as a module."""
    spec = importlib.util.spec_from_file_location("make_coverage", DOCS / "make_coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_is_current():
    committed = (DOCS / "coverage.md").read_text(encoding="utf-8")
    if f"jax {jax.__version__};" not in committed:
        pytest.skip("the table was made against another version of jax")
    assert script().table() == committed, "run python docs/make_coverage.py"
