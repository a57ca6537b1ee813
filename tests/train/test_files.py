"""Trees of arrays in files, and folders of checkpoints."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import graphad
import graphad.numpy as gnp
from graphad.ir.types import DTYPES
from graphad.train import Checkpoint, CheckpointError, CheckpointWarning, load, save


class Pair(NamedTuple):
    mean: object
    count: object


def same(found, expected):
    found, expected = graphad.tree.leaves(found), graphad.tree.leaves(expected)
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b if isinstance(b, np.generic) else gnp.asarray(b))
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (7,), (2, 3, 5)])
def test_every_dtype_and_shape_comes_back(dtype, shape, rng, tmp_path):
    x = (rng.normal(size=shape) * 100).astype(dtype.numpy)
    save(tmp_path / "x.safetensors", {"x": x})
    same(load(tmp_path / "x.safetensors", {"x": np.zeros(shape, dtype.numpy)}), {"x": x})


def test_special_values_and_orders_of_memory(tmp_path):
    tree = {
        "special": np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(20)[::-3],
        "broadcast": np.broadcast_to(np.float32(2), (2, 2)),
        "swapped": np.arange(3, dtype=">f4").astype("<f4"),
    }
    save(tmp_path / "x", tree)
    same(load(tmp_path / "x", tree), tree)


def test_nested_trees_have_readable_names(tmp_path):
    tree = {"layers": [{"w": np.ones(2)}, Pair(np.zeros(()), 3)], "a.b": (1.5, None)}
    save(tmp_path / "x", tree, {"author": "me"})
    with safe_open(tmp_path / "x", "numpy") as file:
        assert sorted(file.keys()) == [r"a\.b.0", "layers.0.w", "layers.1.count", "layers.1.mean"]
        assert file.metadata()["author"] == "me"
    found = load(tmp_path / "x", tree)
    same(found, tree)
    assert type(found["layers"][1]) is Pair
    assert found["a.b"][1] is None
    with pytest.raises(ValueError, match=r"two arrays would have the name 'p\.1'"):
        save(tmp_path / "y", {"p": {"1": 0.0, 1: 1.0}})
    assert os.listdir(tmp_path) == ["x"]


def test_files_of_others(tmp_path):
    tree = {"w": np.arange(3, dtype=ml_dtypes.bfloat16)}
    save_file(tree, tmp_path / "theirs")
    same(load(tmp_path / "theirs", {"w": np.zeros(3, ml_dtypes.bfloat16)}), tree)


def test_another_tree_is_refused_by_name(tmp_path):
    save(tmp_path / "x", {"w": np.ones((2, 3), np.float32), "b": np.ones(3)})
    with pytest.raises(ValueError, match=r"w is float32\[2, 3\] there and float32\[3, 2\] here"):
        load(tmp_path / "x", {"w": np.ones((3, 2), np.float32), "b": np.ones(3)})
    with pytest.raises(ValueError, match=r"b is float64\[3\] there and float32\[3\] here"):
        load(tmp_path / "x", {"w": np.ones((2, 3), np.float32), "b": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match="it lacks c and holds also b"):
        load(tmp_path / "x", {"w": np.ones((2, 3), np.float32), "c": np.ones(3)})
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none", {})


def test_every_damage_is_seen(tmp_path, rng):
    tree = {"w": rng.normal(size=20).astype(np.float32), "n": np.arange(3)}
    path = tmp_path / "x"
    save(path, tree, {"note": "text"})
    whole = path.read_bytes()
    for cut in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match="damaged"):
            load(path, tree)
    header = int.from_bytes(whole[:8], "little")
    for position in [*range(8 + header, len(whole), 5), whole.index(b"text")]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CheckpointError, match="checksum"):
            load(path, tree)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        load(path, tree)


def test_every_byte_of_the_header_counts(tmp_path):
    """Whatever it makes of the names and texts, the checksum's own name included."""
    tree = {"w": np.arange(2, dtype=np.float32)}
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(1, tree, {"graphad.train": "mine"})
    path = tmp_path / "step-00000001.safetensors"
    whole = path.read_bytes()
    for at in range(len(whole) - tree["w"].nbytes):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        if damaged.rstrip(b" ") == whole.rstrip(b" "):
            continue
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load(path, tree)


def test_a_checkpoint_without_a_checksum_is_refused(tmp_path):
    tree, checkpoint = {"w": np.arange(3, dtype=np.float32)}, Checkpoint(tmp_path)
    checkpoint.save(1, tree)
    for texts in ({}, {"graphad.train": "{}"}, {"graphad.format": "1"}):
        save_file(tree, checkpoint.file(2), texts)
        with pytest.warns(CheckpointWarning, match=r"step-00000002.*the checksum .* is not there.*Going on .* step 1"):
            assert checkpoint.restore(tree)[0] == 1
        if texts:  # its own texts say that it is ours
            with pytest.raises(CheckpointError, match="the checksum that it writes is not there"):
                load(checkpoint.file(2), tree)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_what_is_no_regular_file_is_refused(tmp_path):
    tree, checkpoint = {"w": np.arange(3, dtype=np.float32)}, Checkpoint(tmp_path)
    checkpoint.save(1, tree)
    os.mkfifo(checkpoint.file(2))
    os.mkdir(checkpoint.file(3))
    os.symlink("/dev/zero", checkpoint.file(4))
    for step in (2, 3, 4):
        with pytest.raises(CheckpointError, match=r"test_files\.py:\d+: .* is no regular file"):
            load(checkpoint.file(step), tree)
    with pytest.warns(CheckpointWarning, match="is no regular file.*Going on from that of step 1"):
        assert checkpoint.restore(tree)[0] == 1
    os.symlink(checkpoint.file(1), tmp_path / "best")
    same(load(tmp_path / "best", tree), tree)


def test_files_of_names_like_those_of_checkpoints_are_none(tmp_path):
    for name in ("step-5.safetensors", "step-0000000007.safetensors", "step-00000009.safetensors.bak"):
        (tmp_path / name).write_bytes(b"mine")
    assert Checkpoint(tmp_path).restore({"w": 0.0}) is None


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    save(tmp_path / "x", {"w": 1.0})

    def full(_descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save(tmp_path / "x", {"w": 2.0})
    assert os.listdir(tmp_path) == ["x"]
    assert float(load(tmp_path / "x", {"w": 0.0})["w"]) == 1.0


def test_others_may_read_what_was_saved(tmp_path):
    (tmp_path / "plain").touch()
    save(tmp_path / "x", {"w": 1.0})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "x")]
    assert modes[0] == modes[1]


def test_checkpoints_are_pruned(tmp_path):
    checkpoint = Checkpoint(tmp_path / "deep" / "er", keep=2)
    assert checkpoint.restore({"w": 0.0}) is None
    for step in (5, 10, 15, 100_000_000):
        checkpoint.save(step, {"w": float(step)}, {"n": str(step)})
    assert checkpoint.steps() == [15, 100_000_000]
    step, tree, metadata = checkpoint.restore({"w": 0.0})
    assert (step, float(tree["w"]), metadata) == (100_000_000, 1e8, {"n": "100000000"})
    with pytest.raises(ValueError, match="keep=0 must be at least 1"):
        Checkpoint(tmp_path, keep=0)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path):
    checkpoint = Checkpoint(tmp_path, keep=3)
    for step in (1, 2, 3):
        checkpoint.save(step, {"w": float(step)})
    for step in (2, 3):
        (tmp_path / f"step-{step:08d}.safetensors").write_bytes(b"cut short")
    (tmp_path / ".step-00000004.safetensors.0a1b.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.warns(CheckpointWarning, match=r"step-00000003\.safetensors is damaged.*Going on from that of step 1"):
        step, tree, _ = checkpoint.restore({"w": 0.0})
    assert (step, float(tree["w"])) == (1, 1.0)
    checkpoint.save(2, {"w": 2.5})
    assert sorted(os.listdir(tmp_path)) == ["notes.txt", "step-00000001.safetensors", "step-00000002.safetensors"]
    (tmp_path / "step-00000001.safetensors").write_bytes(b"")
    (tmp_path / "step-00000002.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="There is none that is whole"):
        checkpoint.restore({"w": 0.0})
