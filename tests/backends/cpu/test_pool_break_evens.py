"""From how much work on a job has workers: measured once per machine, when it matters."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from graphad.backends.cache import object_cache
from graphad.backends.cpu.pool import break_evens, make
from graphad.backends.cpu.pool.measure import GUESS, LEAST, MOST
from graphad.config import config
from tests.backends.cpu.pool_harness import Harness, other_system

pytestmark = pytest.mark.skipif(not make.AVAILABLE, reason="there is no pool on this system")


@pytest.fixture
def folder(tmp_path):
    with config.override(cache_dir=str(tmp_path / "cache")):
        yield tmp_path / "cache"


def test_what_is_kept_is_read(folder):
    assert break_evens.read() is None
    break_evens.write(6_000, 45_000)
    assert break_evens.read() == (6_000, 45_000)


@pytest.mark.parametrize("pair", [(1, 10_000), (6_000, MOST + 1), (50_000, 6_000), (-6_000, 10_000)])
def test_what_cannot_be_is_not_believed(folder, pair):
    break_evens.write(*pair)
    assert break_evens.read() is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"?", lambda data: b""])
def test_a_damaged_file_says_nothing(folder, damage):
    break_evens.write(6_000, 45_000)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert break_evens.read() is None


def test_contents_of_another_length_say_nothing(folder):
    object_cache().put(break_evens._key(), b"text")
    assert break_evens.read() is None


@pytest.mark.parametrize("system", [None, other_system()], ids=["own", "pthread"])
def test_a_job_that_is_near_measures(system):
    h = Harness(system=system)
    settings, words = h.pool.settings, np.zeros(4, np.int64)
    settings.spinning, settings.sleeping = GUESS
    settings.measured = 0
    for nanoseconds in (LEAST - 1, MOST):
        h.run("mark", words, 4, nanoseconds)
        assert (settings.measured, settings.spinning, settings.sleeping) == (0, *GUESS)
    h.run("mark", words, 4, LEAST)
    assert settings.measured == 1
    assert LEAST <= settings.spinning <= settings.sleeping <= MOST
    assert (words == 3).all()


RUN = """
import ctypes, sys
from graphad.backends.cpu.pool import RUN_BLOCKS, make
word, pointer = ctypes.c_int64, ctypes.c_void_p
run = ctypes.CFUNCTYPE(None, pointer, pointer, word, word)(make.address())
settings = make._loaded[RUN_BLOCKS].settings
print(settings.measured)
run(ctypes.cast(ctypes.CFUNCTYPE(None, pointer, word)(lambda *_: None), pointer), None, 3, 50_000)
print(settings.measured, settings.spinning, settings.sleeping)
"""


def test_measured_once_for_all_processes(tmp_path):
    environment = os.environ | {"GRAPHAD_CACHE": str(tmp_path / "cache"), "GRAPHAD_NUM_THREADS": "2"}
    first, second = [
        subprocess.run(
            [sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout.split()
        for _ in range(2)
    ]
    assert first[:2] == ["0", "1"]
    assert second == ["1", *first[1:]]
