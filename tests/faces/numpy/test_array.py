"""`graphad.Array`: what it shows of itself, what it lets NumPy and Python do, and what it refuses."""

from __future__ import annotations

import copy
import operator as op
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.trace.tracer import Tracer
from tests.faces.oracle import arrays

F32 = np.float32

# ---------------------------------------------------------------------------------------------------------------------
# Text


@pytest.mark.parametrize("name", ["x", "A", "C", "s", "e", "w", "i", "I", "n", "c", "q", "h", "b", "M"])
@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_text_is_jax_text(name, show):
    value = arrays(32)[name]
    assert on_one_line(show(gnp.asarray(value))) == on_one_line(show(jnp.asarray(value)))


def on_one_line(text):
    """JAX does not break the line where the dtype no longer fits on it."""
    return "".join(text.split())


def test_long_texts_break_where_numpy_breaks_them():
    expected = repr(np.arange(5, dtype=F32) / F32(7)).replace("array(", "Array(")
    assert repr(gnp.arange(5.0) / 7) == expected
    assert "\n      dtype" in expected


MADE = [
    "m.asarray(1.0)", "m.asarray(2)", "m.full((2,), 1.5)", "m.zeros((0, 3))", "m.zeros(0)", "m.arange(2000)",
    "m.linspace(0, 1, 17)", "m.ones((2, 2)) * 1e-7", "m.arange(3) + 1.5",
]  # fmt: skip


@pytest.mark.parametrize("make", MADE)
def test_repr_of_made_arrays(make):
    assert on_one_line(repr(eval(make, {"m": gnp}))) == on_one_line(repr(eval(make, {"m": jnp})))


def test_format_of_scalars():
    x, y = gnp.float32(3.0519385), jnp.float32(3.0519385)
    assert f"{x}" == f"{y}" == "3.051938533782959"
    assert f"{x:.3f} {x:8.2e} {gnp.int32(7):04d}" == f"{y:.3f} {y:8.2e} {jnp.int32(7):04d}"


# ---------------------------------------------------------------------------------------------------------------------
# Out to NumPy and Python


def test_numpy_sees_the_same_memory_read_only():
    x = gnp.arange(3.0)
    view = np.asarray(x)
    assert np.shares_memory(view, np.asarray(x))
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    assert np.array(x).flags.writeable


def test_no_alias_of_the_callers_memory():
    source = np.zeros(3, F32)
    x = gnp.asarray(source)
    source[0] = 7
    assert x[0] == 0


def test_conversions():
    assert (float(gnp.float32(1.5)), int(gnp.int32(3)), bool(gnp.array([True])), gnp.arange(2).tolist()) == (
        1.5,
        3,
        True,
        [0, 1],
    )
    assert [10, 20][gnp.asarray(1)] == 20
    assert gnp.arange(3).tobytes() == np.arange(3, dtype=np.int32).tobytes()
    assert np.asarray(gnp.ones(2), np.float64).dtype == np.float64
    assert np.asarray(gnp.ones(2, "bfloat16")).dtype.name == "bfloat16"
    assert complex(gnp.float32(2)) == 2 + 0j
    assert list(range(gnp.asarray(3))) == [0, 1, 2]


def test_pickle_and_copies():
    x = gnp.asarray(1.5)
    y = pickle.loads(pickle.dumps(x))
    assert (y, y.weak_type, y.dtype) == (x, True, x.dtype)
    assert copy.deepcopy([x])[0] is x
    assert x.block_until_ready() is x


def test_numpy_arrays_on_the_left_defer():
    x = gnp.arange(3.0)
    for result in (np.ones(3, F32) * x, np.ones(3, F32) @ x, np.ones(3, F32) < x, np.float32(2) + x, np.int64(2) ** x):
        assert type(result) is gnp.ndarray
    assert graphad.grad(lambda y: (np.ones(3, F32) * y).sum())(x).tolist() == [1, 1, 1]


def test_numpy_scalars():
    x = gnp.ones(2)
    assert (x * np.float64(2)).dtype == F32  # a Python float
    assert (x * np.float64([2])).dtype == np.float64  # an array keeps its dtype
    assert (gnp.arange(2) * np.int8(3)).dtype == np.int32


def test_tracers_are_arrays():
    seen = []

    def f(x):
        seen.append(
            (isinstance(x, graphad.Array), isinstance(x, gnp.ndarray), type(x) is Tracer, x.shape, x.dtype, len(x))
        )
        return x.sum()

    graphad.grad(f)(gnp.ones(2))
    assert seen == [(True, True, True, (2,), F32, 2)]
    assert not isinstance(np.ones(2), graphad.Array)


# ---------------------------------------------------------------------------------------------------------------------
# Refused


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: hash(x), TypeError, "Use x.tobytes()"),
        (lambda x: x.__setitem__(1, 2.0), TypeError, "x.at[1].set(v)"),
        (lambda x: x.__setitem__(slice(0, 2), 2.0), TypeError, "x.at[0:2].set(v)"),
        (lambda x: bool(x), ValueError, "x.any() or x.all()"),
        (lambda x: float(x), TypeError, "one element"),
        (lambda x: [0][x], TypeError, "only integer scalars can be an index"),
        (lambda x: [0][x[0]], TypeError, "only integer scalars can be an index"),
        (lambda x: len(x[0]), TypeError, "without axes"),
        (lambda x: iter(x[0]), TypeError, "iteration over a scalar"),
        (lambda x: np.sin(x, out=x), TypeError, "arrays are immutable"),
        (lambda x: op.add(x, [1, 2, 3]), TypeError, "graphad.numpy.array"),
        (lambda x: x + "a", TypeError, "unsupported operand"),
        (lambda x: x < None, TypeError, "not supported between"),
        (lambda x: x * (1 + 2j), TypeError, "complex numbers are not supported"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error) as caught:
        call(gnp.arange(3.0))
    assert message in str(caught.value)


def test_comparison_with_strangers_is_by_identity():
    x = gnp.arange(3)
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True


def test_another_class_gets_its_turn():
    class Other:
        def __radd__(self, x):
            return "other"

    assert gnp.arange(3) + Other() == "other"
