"""Killed at any moment, a training goes on to the very same parameters."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from graphad.train import CheckpointWarning, load
from tests.train.problems import bits, train_with_dropout

CHILD = """
import os, sys
from graphad.train import Callback, save
from tests.train.problems import train_with_dropout

class Tell(Callback):
    def on_step(self, training):
        os.write(1, b"%d\\n" % training.step)

result = train_with_dropout(sys.argv[1], every=int(sys.argv[2]), callbacks=[Tell()])
save(sys.argv[3], (result.params, result.opt_state))
"""


def start(folder, every, result):
    root = str(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    paths = os.pathsep.join([root, os.path.join(root, "kernels")])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(every), str(result)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "GRAPHAD_VERIFY": "0"},
        cwd=root,
    )


def steps_until(child, step):
    """Wait until ``child`` has told of ``step``; the seconds of one step, about."""
    begun, seen = None, 0
    for line in child.stdout:
        begun, seen = begun or time.perf_counter(), seen + 1
        if int(line) >= step:
            break
    return (time.perf_counter() - begun) / max(seen - 1, 1) if begun else 0.0


def killed_often(tmp_path, kills, every, seed):
    """A training killed while its steps, or the writing of its checkpoints, went on, against an undisturbed one."""
    rng = random.Random(seed)
    folder, result = tmp_path / f"run{seed}", tmp_path / f"result{seed}.safetensors"
    for step in sorted(rng.choices(range(1, 100), k=kills)):
        with start(folder, every, result) as child:
            time.sleep(rng.uniform(0, 2) * steps_until(child, step))
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL, "it was to be killed, but had ended"
    with start(folder, every, result) as child:
        child.stdout.read()
    assert child.returncode == 0
    whole = train_with_dropout(None)
    trained = (whole.params, whole.opt_state)
    assert bits(load(result, trained)) == bits(trained)
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
    assert len(os.listdir(folder)) == 2


def test_killed_four_times(tmp_path):
    killed_often(tmp_path, kills=4, every=1, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_killed_more_often(seed, tmp_path):
    killed_often(tmp_path, kills=25, every=1 + seed % 4, seed=seed)


def test_every_state_of_the_folder_can_be_resumed_from(tmp_path, monkeypatch):
    """What a crash between any two operations on files leaves behind."""
    folder, count = tmp_path / "run", 0

    def snapshot():
        nonlocal count
        if folder.exists():
            shutil.copytree(folder, tmp_path / f"crash{count}")
            count += 1

    def between(plain):
        def call(*args, **options):
            snapshot()
            plain(*args, **options)
            snapshot()

        return call

    with monkeypatch.context() as patched:
        for name in ("fsync", "replace", "unlink"):
            patched.setattr(os, name, between(getattr(os, name)))
        whole = train_with_dropout(folder, every=3, epochs=2)
    assert count > 20
    states = {
        tuple(sorted((p.name, p.read_bytes()) for p in (tmp_path / f"crash{k}").iterdir())): k for k in range(count)
    }
    assert len(states) >= 8
    for k in states.values():
        again = train_with_dropout(tmp_path / f"crash{k}", every=3, epochs=2)
        assert bits((again.params, again.opt_state)) == bits((whole.params, whole.opt_state))


def test_a_file_cut_anywhere_costs_one_checkpoint(tmp_path, rng):
    """As a disk that lies about what it has written may leave it."""
    whole = train_with_dropout(tmp_path / "run", every=4, epochs=2)
    for k in range(5):
        shutil.copytree(tmp_path / "run", tmp_path / str(k))
        newest = max((tmp_path / str(k)).iterdir())
        newest.write_bytes(newest.read_bytes()[: rng.integers(newest.stat().st_size)])
        with pytest.warns(CheckpointWarning, match="Going on from that of step 8"):
            again = train_with_dropout(tmp_path / str(k), every=4, epochs=2)
        assert bits(again.params) == bits(whole.params)
        assert len(again.losses) == 4
