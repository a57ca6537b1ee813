"""What a compiled function may be called with: layouts, dtypes, containers, and what becomes of the arguments."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close

BASE = np.arange(24, dtype=np.float32).reshape(4, 6) / 7
LAYOUTS = {
    "contiguous": BASE,
    "transposed": BASE.T,
    "Fortran": np.asfortranarray(BASE),
    "strided": BASE[::2, 1::3],
    "reversed": BASE[::-1, ::-1],
    "broadcast": np.broadcast_to(BASE[0], (3, 6)),
    "byte-swapped": BASE.astype(">f4"),
    "read-only": np.frombuffer(BASE.tobytes(), np.float32).reshape(4, 6),
    "misaligned": np.frombuffer(b"x" + BASE.tobytes(), np.float32, offset=1).reshape(4, 6),
    "one row": BASE[:1],
    "one element": BASE[:1, :1],
    "no rows": BASE[:0],
    "no columns": BASE[:, :0],
}


@pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(x):
    f = lambda x: (gnp.sin(x) * 2 + x[::-1], x.sum(0), x.T)
    compiled = graphad.jit(f)
    for _ in range(3):  # the first call traces, the later ones take the short way
        for got, expected in zip(compiled(x), f(np.ascontiguousarray(x, np.float32)), strict=True):
            close(got, expected, 1e-6)
    gradient = graphad.jit(graphad.grad(lambda x: (gnp.sin(x) * x).sum()))
    for _ in range(2):
        close(gradient(x), np.sin(x) + x * np.cos(x), 1e-5)


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
        "bfloat16",
    ],
)
def test_dtypes(dtype):
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    f = lambda x, y: (x + x, gnp.where(x > 0, x, y), x.astype("float32").sum())
    x, y = np.array([0, 1, 2, 3]).astype(dtype), np.array([3, 2, 1, 0]).astype(dtype)
    compiled = graphad.jit(f)
    for _ in range(2):
        for got, expected in zip(compiled(x, y), f(x, y), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


@pytest.mark.parametrize(
    "x", [2.0, 2, True, np.float64(2), np.float32(2), np.int64(2), np.asarray(2.0), gnp.array(2.0)]
)
def test_scalars(x):
    f = lambda x: x * 3
    got, expected = graphad.jit(f)(x), gnp.multiply(x, 3)
    assert (got.shape, got.dtype, got.weak_type) == (expected.shape, expected.dtype, expected.weak_type)
    assert float(got) == float(expected)


def test_no_arguments_and_no_results():
    assert float(graphad.jit(lambda: 2.0)()) == 2.0
    assert graphad.jit(lambda x: None)(1.0) is None
    assert graphad.jit(lambda x: ())(1.0) == ()
    assert graphad.jit(lambda x, y: [None, (y,)])(None, None) == [None, (None,)]


def test_many_arguments_and_results():
    xs = [np.full(3, float(k)) for k in range(60)]
    got = graphad.jit(lambda *xs: [x + k for k, x in enumerate(xs)])(*xs)
    for k, y in enumerate(got):
        close(y, np.full(3, 2.0 * k))


def test_arguments_are_not_written_to():
    x = np.ones(5)
    x.flags.writeable = False
    y = np.ones(5)
    graphad.jit(lambda x, y: (x.at[0].set(2.0), y.at[1].add(y[0]), y * 2))(x, y)
    np.testing.assert_array_equal(y, np.ones(5))


def test_results_live_on_their_own():
    f = graphad.jit(lambda x: (x * 2, x + 1))
    first = f(np.ones(1000))
    second = f(np.full(1000, 5.0))
    close(first[0], np.full(1000, 2.0))
    close(second[0], np.full(1000, 10.0))
    view = np.asarray(first[1])
    del first
    f(np.full(1000, 7.0))
    close(view, np.full(1000, 2.0))


def test_weakness_of_arguments_and_results():
    f = graphad.jit(lambda x, y: (x * 2.0, x + y, y))
    results = f(1.0, np.float32(2.0))
    assert [r.weak_type for r in results] == [True, False, False]
    assert [r.weak_type for r in f(gnp.asarray(1.0), gnp.asarray(2.0))] == [True, True, True]


def test_denormals_nans_and_infinities():
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0], np.float32)
    for f in (
        lambda x: x * 1.0,
        lambda x: gnp.where(x > 0, x, -x),
        lambda x: gnp.maximum(x, 0.0),
        gnp.isnan,
        lambda x: x.max(),
    ):
        np.testing.assert_array_equal(np.asarray(graphad.jit(f)(x)), np.asarray(f(x)))
    assert np.signbit(np.asarray(graphad.jit(lambda x: -x)(0.0)))
    tiny = np.array([1e-40, 1.0], np.float32)
    with graphad.config.override(flush_denormals=False):
        np.testing.assert_array_equal(np.asarray(graphad.jit(lambda x: x * 0.5)(tiny)), tiny * np.float32(0.5))


def test_disable_jit_also_after_the_short_way_was_taken():
    seen = []
    f = graphad.jit(lambda x: seen.append(type(x).__name__) or x * 2)
    for _ in range(3):
        f(1.0)
    assert seen == ["Exact"]
    with graphad.config.override(disable_jit=True):
        f(1.0)
    assert seen == ["Exact", "float"]


def test_engines_agree():
    f = lambda x: gnp.tanh(x @ x.T).sum(0) * gnp.exp(-x[:, 0])
    expected = f(BASE)
    for engine in ("llvm", "numba"):
        with graphad.config.override(engine=engine):
            close(graphad.jit(f)(BASE), expected, 1e-5)


def test_a_function_that_calls_itself_compiled():
    @graphad.jit
    def factorial(n):
        return n * factorial(n - 1) if n > 1 else n

    assert [int(factorial(np.int32(n))) for n in (5, 1, 3)] == [120, 1, 6]


def test_compiled_call_of_a_compiled_gradient_in_an_eager_loop():
    step = graphad.jit(lambda w, x: w - 0.1 * graphad.grad(lambda w: ((x * w - 3.0) ** 2).sum())(w))
    w = gnp.zeros(3)
    for _ in range(60):
        w = step(w, np.ones(3, np.float32))
    close(w, np.full(3, 3.0, np.float32), 1e-4)
    assert repr(step) == "<compiled lambda: 1 signature(s), 1 path(s)>"
