"""Random calls of the routines that call LAPACK, between guard zones; a process of its own, for one may not end.

``python -m tests.backends.routines.guard_zones NAME DTYPE SEED COUNT``. The last line that it prints is the call that
it was at.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from graphad_kernels.routines import ROUTINES

from graphad.backends.routines import compiled
from graphad.ir.types import DTYPES, i32
from tests.backends.routines.factorization_oracles import ORACLES

Arrays = list[np.ndarray[Any, Any]]
ZONE = 64
#: What is around buffers, and in them before they are written: results must not depend on it.
FILLS = (0xFF, 0x5A)
SPECIAL = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "zero": 0.0, "-zero": -0.0}


class Guarded:
    """The buffers of a call, each between two guard zones, at an address that is a multiple of its element only."""

    def __init__(self, types: Sequence[np.dtype[Any]], sizes: Sequence[int], rng: np.random.Generator) -> None:
        self.memory, self.buffers = [], []
        for dtype, size in zip(types, sizes, strict=True):
            shift = int(rng.integers(0, 8))
            memory = np.empty(ZONE + shift + size + ZONE, dtype)
            self.memory.append(memory)
            self.buffers.append(memory[ZONE + shift : ZONE + shift + size])

    def run(
        self,
        call: Callable[..., Any],
        reads: Arrays,
        results: int,
        sizes: Sequence[int],
        fill: int,
        overwrites: Sequence[tuple[int, int]] = (),
    ) -> Arrays:
        """The results of a call; ``overwrites`` are pairs of buffers that are the same memory in it."""
        memory, buffers = self.memory, self.buffers
        self.memory, self.buffers = list(memory), list(buffers)
        for read, written in overwrites:
            self.memory[written], self.buffers[written] = memory[read], buffers[read]
        try:
            return self._run(call, reads, results, sizes, fill, {read for read, _ in overwrites})
        finally:
            self.memory, self.buffers = memory, buffers

    def _run(
        self,
        call: Callable[..., Any],
        reads: Arrays,
        results: int,
        sizes: Sequence[int],
        fill: int,
        overwritten: set[int],
    ) -> Arrays:
        for memory, buffer in zip(self.memory, self.buffers, strict=True):
            memory.view(np.uint8)[:] = fill
            assert buffer.base is memory
        for buffer, x in zip(self.buffers, reads, strict=False):
            buffer[:] = x
        before = [bytes(x) for x in reads]
        call(*self.buffers, *sizes)
        for k, (memory, buffer) in enumerate(zip(self.memory, self.buffers, strict=True)):
            start = (buffer.ctypes.data - memory.ctypes.data) // memory.itemsize
            outside = np.concatenate([memory[:start], memory[start + buffer.size :]]).view(np.uint8)
            assert (outside == fill).all(), f"written beside buffer {k}"
        kept = [k for k in range(len(reads)) if k not in overwritten]
        assert [bytes(self.buffers[k]) for k in kept] == [before[k] for k in kept], "written to what is read"
        return [x.copy() for x in self.buffers[len(reads) : len(reads) + results]]


def machine_code(name: str, dtype: str) -> Callable[..., None]:
    """A routine as programs call it."""
    row = ROUTINES[name]
    pointers = len(row.buffers)
    n_sizes = row.function.__code__.co_argcount - pointers
    kinds = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * n_sizes
    function = ctypes.CFUNCTYPE(None, *kinds)(compiled.address(compiled.symbol_of(name, DTYPES[dtype])))
    return lambda *args: function(*[x.ctypes.data for x in args[:pointers]], *args[pointers:])


def python(name: str) -> Callable[..., None]:
    """A routine as Python runs it."""

    def call(*args: Any) -> None:
        with np.errstate(all="ignore"):
            ROUTINES[name].function(*args)

    return call


# ---------------------------------------------------------------------------------------------------------------------
# Calls


class Call(NamedTuple):
    """Sizes, what is read, and whether that is such that results can be told."""

    sizes: tuple[int, ...]
    reads: Arrays
    usual: bool


def random_sizes(name: str, rng: np.random.Generator) -> tuple[int, ...]:
    """The number of matrices, their rows and columns, and what the routine is to do."""

    def size() -> int:
        return int(rng.integers(13, 41)) if rng.random() < 0.03 else int(rng.integers(0, 13))

    batch, m, n = int(rng.integers(0, 4)), size(), size()
    square = (
        "cholesky_tangent",
        "cholesky_adjoint",
        "eigh",
        "eigvalsh",
        "eig",
        "eigvals",
        "eigh_tridiagonal",
        "eigvalsh_tridiagonal",
        "schur",
        "hessenberg",
        "hessenberg_form",
        "hessenberg_reflectors",
    )
    if name in square:
        return batch, n
    if name == "cholesky":
        return batch, n, int(rng.integers(0, 2))
    if name in ("lu", "lu_by_columns"):
        return batch, m, n
    if name == "qr":
        return batch, m, n, m if rng.random() < 0.4 else min(m, n)
    if name == "householder_product":
        return batch, max(m, n), min(m, n), int(rng.integers(0, min(m, n) + 1))
    if name == "quasi_sylvester":
        return batch, m, n, int(rng.integers(0, 2))
    if name in ("svd", "svdvals"):
        return batch, m, n, int(rng.integers(0, 2))
    if name == "tridiagonal_solve":
        return batch, n, m
    if name == "banded_solve":
        return batch, n, min(m, 5), *rng.integers(0, 6, 2).tolist(), int(rng.integers(0, 2))
    assert name == "triangular_solve", f"{name} needs sizes here, and an oracle"
    return batch, n, m, *rng.integers(0, 2, 4).tolist()


def random_call(name: str, dtype: np.dtype[Any], rng: np.random.Generator) -> Call:
    """Normal numbers, small integers, or numbers of every size; in half of the calls some that are special."""
    row = ROUTINES[name]
    sizes = random_sizes(name, rng)
    lengths = row.extents(*sizes)[: row.reads]
    kind = rng.choice(["normal", "definite", "integers", "scales"])
    if kind == "integers":
        reads = [rng.integers(-2, 3, k).astype(dtype) for k in lengths]
    else:
        reads = [rng.normal(size=k).astype(dtype) for k in lengths]
    if kind == "definite" and name not in ("tridiagonal_solve", "banded_solve"):
        batch, n = sizes[:2]
        if reads[0].size == batch * n * n:
            reads[0].reshape(batch, n, n)[:] += 6 * max(n, 1) * np.eye(n, dtype=dtype)
    elif kind == "scales":
        top = float(np.log10(np.finfo(dtype).max)) - 1
        with np.errstate(all="ignore"):
            reads = [(x * 10.0 ** rng.uniform(-top - 10, top, x.size)).astype(dtype) for x in reads]
    for k in [k for k, t in enumerate(row.buffers[: row.reads]) if t == "i32"]:  # where blocks begin, two rows apart
        reads[k] = rng.integers(0, 2, lengths[k]).astype(np.int32) * (np.arange(lengths[k], dtype=np.int32) % 2)
    special = rng.random() < 0.5
    if special:
        for x in [x for x in reads if x.dtype == dtype]:
            where = rng.random(x.size) < rng.choice([0.02, 0.3, 1.0])
            choices = [*SPECIAL.values(), float(np.finfo(dtype).smallest_subnormal), float(np.finfo(dtype).max)]
            chosen = rng.choice(choices, size=rng.integers(1, 3))
            x[where] = rng.choice(chosen, size=int(where.sum())).astype(dtype)
    return Call(sizes, reads, kind != "scales" and not special)


def check(name: str, dtype: str, seed: int, count: int) -> None:
    """Random calls, in machine code and every sixteenth in Python too."""
    row, element = ROUTINES[name], DTYPES[dtype].numpy
    rng = np.random.default_rng([seed, len(name), DTYPES[dtype].bits])
    native = machine_code(name, dtype)
    assert all([row.buffers[i] == row.buffers[j] == "T" for i, j in row.overwrites])
    types = [np.dtype(element) if t == "T" else np.dtype(i32.numpy) for t in row.buffers]
    for k in range(count):
        call = random_call(name, element, rng)
        print(f"call {k}: {name} {dtype} {call.sizes}", flush=True)
        lengths = row.extents(*call.sizes)
        guarded = Guarded(types, lengths, rng)
        first, second = (guarded.run(native, call.reads, row.results, call.sizes, fill) for fill in FILLS)
        same(first, second, "results depend on what was in memory before")
        pairs = [(i, j) for i, j in row.overwrites if lengths[i] == lengths[j]]
        shared = guarded.run(native, call.reads, row.results, call.sizes, FILLS[0], pairs)
        if all([np.isfinite(x).all() for x in first]):  # which nan is a pivot depends on where it lies in memory
            same(first, shared, "one buffer for two")
        if name == "lu":
            is_permutation(call.sizes, *first[1:])
        elif name == "lu_by_columns":
            batch, m, n = call.sizes
            is_permutation((batch, n, m), *first[1:3])
        if call.usual:
            ORACLES[name](call.sizes, call.reads, first)
        if k % 16 == 0:
            same(first, guarded.run(python(name), call.reads, row.results, call.sizes, FILLS[0]), "Python differs")


def is_permutation(sizes: tuple[int, ...], pivots: Any, order: Any) -> None:
    """What `lu` says of rows can be indexed with, whatever the matrix."""
    batch, m, n = sizes
    least = min(m, n)
    assert (np.arange(least) <= pivots.reshape(batch, least)).all()
    assert (pivots < m).all()
    assert (np.sort(order.reshape(batch, m)) == np.arange(m)).all()


def same(xs: Arrays, ys: Arrays, message: str) -> None:
    """Equal, nan where the other is nan."""
    for k, (x, y) in enumerate(zip(xs, ys, strict=True)):
        np.testing.assert_array_equal(x, y, f"{message}: result {k}")


if __name__ == "__main__":
    check(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
