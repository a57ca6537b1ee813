"""What all tests share: the environment, Hypothesis profiles, random numbers and golden files."""

from __future__ import annotations

import difflib
import gc
import os
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Before numpy, jax or graphad are imported. The cache is the checkout's own: the user's is neither read nor filled.
os.environ.setdefault("GRAPHAD_VERIFY", "2")
os.environ.setdefault("GRAPHAD_CACHE", str(ROOT / ".graphad-cache"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A large part of the time of all tests is JAX compiling what runs once: it keeps that, and compiles quickly.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".graphad-cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
if version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import numpy as np
import pytest

from graphad.config import SETTINGS, config
from tests.thinned import slow_cases

hypothesis.settings.register_profile("default", deadline=None, max_examples=40, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)  # --hypothesis-profile=search
hypothesis.settings.load_profile("default")

collect_ignore = ["faces/python/user_code.py"]  # for type checkers; it does not run


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


def pytest_collection_modifyitems(items):
    for item in slow_cases(items):
        item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """What is there before the first test stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng():
    """Random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def settings_kept():
    """A test that changes a setting for the whole process changes it back."""
    before = {name: getattr(config, name) for name in SETTINGS}
    yield
    after = {name: getattr(config, name) for name in SETTINGS}
    for name, value in before.items():
        if after[name] != value:
            config.update(name, value)
    assert after == before, "the test left a setting changed: use config.override"


@pytest.fixture
def module_file(tmp_path, monkeypatch):
    """``module_file(name, text)`` writes a module for the command line to import; its path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    written = []

    def write(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        written.append(name)
        return str(path)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def golden(request):
    """``golden("name.txt", text)`` compares with ``tests/golden/name.txt``; ``--update-golden`` writes it."""

    def check(name, text):
        path = ROOT / "tests" / "golden" / name
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        if not path.exists():
            pytest.fail(f"{path} is missing: run pytest --update-golden and read what it writes")
        expected = path.read_text(encoding="utf-8")
        diff = difflib.unified_diff(expected.splitlines(), text.splitlines(), "golden", "now", lineterm="")
        assert text == expected, "\n".join([f"{name} differs:", *diff, "", "If that is right: pytest --update-golden"])

    return check
