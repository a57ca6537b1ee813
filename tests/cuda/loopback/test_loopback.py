"""The tests that take a GPU, on one that is not there: the real ``cuda.core`` and ``cuda.bindings`` on a stand-in for
NVIDIA's driver, each group in a process of its own, so that the other tests see no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cuda.loopback.library import COMPILER

ROOT = Path(__file__).parents[3]
HERE, RUNTIME = "tests/cuda/loopback", "tests/cuda/runtime"
pytest.importorskip("cuda.core", reason="cuda-core is not installed")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the driver is found by its name in an ELF file"),
    pytest.mark.skipif(COMPILER is None, reason="there is no C compiler"),
]


def run(*arguments, gpus=1):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.cuda.loopback.plugin"]
    env = {**os.environ, "LOOPBACK_GPUS": str(gpus)}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, "nothing is complained of at the end"


def test_the_driver():
    run(
        HERE,
        "tests/cuda/runtime/test_runtimes.py",
        "tests/cuda/runtime/test_device_executable.py",
        "-k",
        "not emulated",
    )


def test_two_gpus():
    run(f"{HERE}/two_gpus.py", gpus=2)


@pytest.mark.slow
def test_what_all_devices_do():
    run("tests/devices", "-k", "cuda:0")


@pytest.mark.slow
def test_programs_and_training():
    run("tests/cuda/test_programs.py", "tests/cuda/test_training.py", "-k", "cuda:0")


@pytest.mark.slow
def test_the_benchmark():
    run("tests/test_gpu_benchmark.py", "-k", "cuda:0", "-m", "slow")


@pytest.mark.slow
def test_every_primitive():
    run("tests/cuda/test_primitives.py", "-k", "cuda:0")
