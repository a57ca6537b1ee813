"""Wrong calls of `graphad.numpy` say where, what, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import PrecisionWarning

x, A, i = gnp.ones(3), gnp.ones((3, 4)), gnp.arange(3)

WRONG = [
    # Operands that are no arrays
    (lambda: gnp.sin([1.0]), TypeError, "sin: expected an array or a number, not list: write graphad.numpy.array(...)"),
    (lambda: gnp.add(x, (1, 2, 3)), TypeError, "add: expected an array or a number, not tuple"),
    (lambda: gnp.sum("abc"), TypeError, "sum: expected an array or a number, not str"),
    (lambda: gnp.exp(None), TypeError, "exp: expected an array or a number, not NoneType"),
    (lambda: gnp.sin(1j), TypeError, "complex numbers are not supported"),
    (lambda: gnp.array(np.array(["a"])), TypeError, "is not supported"),
    (lambda: gnp.array([1, "a"]), TypeError, "expected an array or a number, not str"),
    (lambda: gnp.array([[1, 2], [3]]), ValueError, "unequal lengths"),
    (lambda: gnp.array([2**40]), OverflowError, "Give a wider dtype="),
    (lambda: gnp.zeros(3, "complex64"), TypeError, "complex64 is not supported"),
    # Shapes that do not fit
    (lambda: A + x, TypeError, "add got shapes (3,4) and (3,), which do not broadcast"),
    (lambda: A * x, TypeError, "Write y[:, None] to repeat y along axis 1"),
    (lambda: gnp.where(x > 0, A, 0.0), TypeError, "where got shapes"),
    (
        lambda: gnp.dot(A, x),
        TypeError,
        "dot got f32[3,4] and f32[3]: axis -1 of the first, of size 4, must equal axis -1",
    ),
    (lambda: A @ A, TypeError, "must equal axis -2 of the second, of size 3. Write y.T"),
    (lambda: A @ 2.0, ValueError, "write x * y for scalars"),
    (lambda: gnp.inner(A, x), TypeError, "inner got f32[3,4] and f32[3]"),
    (lambda: gnp.tensordot(A, A, 3), ValueError, "the number of axes summed over"),
    (lambda: gnp.einsum("ij,jk", A, A), ValueError, "'j' stands for size 4 and for 3"),
    (lambda: gnp.einsum("ij", x), ValueError, "'ij' does not describe f32[3]"),
    (lambda: gnp.einsum("i->j", x), ValueError, "'j' of the output must be in an operand"),
    (lambda: gnp.einsum("i,j", x), ValueError, "describes 2 operands, got 1"),
    (lambda: gnp.reshape(A, (5, -1)), TypeError, "reshape cannot give f32[3,4] with 12 elements the shape (5, -1)"),
    (lambda: gnp.broadcast_to(A, (4,)), ValueError, "broadcast_to cannot repeat f32[3,4] to the shape (4,)"),
    (lambda: gnp.squeeze(A, 0), ValueError, "its size is 3, not 1"),
    (lambda: gnp.concatenate([A, x]), TypeError, "concatenate got f32[3,4] and f32[3]"),
    (lambda: gnp.concatenate([1.0, 2.0]), ValueError, "write stack for scalars"),
    (lambda: gnp.concatenate([]), ValueError, "at least one array"),
    (lambda: gnp.stack([A, x]), ValueError, "stack got f32[3,4] and f32[3]: all shapes must be equal"),
    (lambda: gnp.split(x, 2), ValueError, "into 2 equal parts. Write array_split"),
    (lambda: gnp.zeros((2, -1)), ValueError, "sizes must not be negative"),
    (lambda: gnp.zeros(2.5), TypeError, "zeros takes a shape of integers, got 2.5"),
    # Axes
    (lambda: gnp.sum(A, axis=2), ValueError, "sum got axis 2 for an array of 2 axes; legal axes are -2..1"),
    (lambda: gnp.sum(A, axis=(0, -2)), ValueError, "names an axis twice"),
    (lambda: gnp.sum(A, axis=0.5), TypeError, "sum takes an integer as axis, got 0.5"),
    (lambda: gnp.max(gnp.zeros((0, 2)), axis=0), ValueError, "which is empty: there is no max. Give initial="),
    (lambda: gnp.argmin(gnp.zeros(0)), ValueError, "is empty and has no extremum"),
    (lambda: gnp.transpose(A, (0,)), ValueError, "takes 2 axes, got (0,)"),
    (lambda: gnp.cumsum(A, axis=5), ValueError, "cumsum got axis 5"),
    (lambda: gnp.broadcast_shapes((2, 3), (4,)), ValueError, "broadcast_shapes got shapes (2,3) and (4,)"),
    # Dtypes
    (lambda: x & 1, TypeError, "got f32[3]"),
    (lambda: ~x, TypeError, "got f32[3]"),
    (lambda: gnp.array(True) - gnp.array(True), TypeError, "got bool[]"),
    (lambda: i**-1, TypeError, "a negative power is no integer. Write x.astype(float) ** -1"),
    (lambda: i.at[0].set(2.5), TypeError, "which cannot hold them. Write x.astype(float32) first"),
    (lambda: x.at[0].set(np.full(1, 0.1)), PrecisionWarning, "values of type f64[1] for x of type f32[3]"),
    # Indices
    (lambda: x[3], IndexError, "index 3 is out of range for axis 0 of f32[3], of size 3"),
    (lambda: x[-4], IndexError, "index -4 is out of range"),
    (lambda: A[0, 0, 0], IndexError, "too many indices: f32[3,4] has 2 axes, got 3"),
    (lambda: A[..., ...], IndexError, "one ellipsis"),
    (lambda: x[[0, 1]], TypeError, "write x[graphad.numpy.array([0, 1])]"),
    (lambda: x[1.0], TypeError, "1.0 is no index"),
    (lambda: x["a"], TypeError, "'a' is no index"),
    (lambda: x[x], TypeError, "Write x[i.astype(int)]"),
    (lambda: x[::0], ValueError, "the step of a slice cannot be zero"),
    (lambda: x[np.array([True, False])], IndexError, "a mask of shape (2,) does not fit f32[3]"),
    (lambda: A[i, gnp.arange(2)], TypeError, "the index got shapes (3,) and (2,)"),
    (lambda: x.at[3].add(1.0), IndexError, "index 3 is out of range"),
    (lambda: x.at[:2].set(gnp.ones(3)), TypeError, "the update got shapes (3,) and (2,)"),
    (
        lambda: x.at[0].set(gnp.ones(2)),
        ValueError,
        "does not fit what the index selects of f32[3], an array of shape ()",
    ),
    (lambda: x.at[0].add(1.0, mode="wrap"), ValueError, "takes mode 'drop' or 'clip', got 'wrap'"),
    (lambda: x.at[0].get(mode="drop"), ValueError, "takes mode 'clip' or 'fill'"),
    (lambda: x.at[0].set(1.0, unique=True), TypeError, "x.at[i].set takes no argument 'unique'"),
    (lambda: gnp.take(x, i, mode="raise"), ValueError, "take got mode='raise'"),
    (lambda: gnp.take_along_axis(A, i, 1), ValueError, "the same number of axes"),
    (lambda: gnp.pad(x, -1), ValueError, "write a slice to cut"),
    (lambda: gnp.pad(x, 1.5), TypeError, "pad got widths 1.5: give integers"),
    (lambda: gnp.pad(x, {1: 1}), ValueError, "pad got axis 1 for"),
    (lambda: gnp.pad(x, 1, mode="middle"), ValueError, "pad got mode='middle'; it takes 'constant', 'edge'"),
    (lambda: gnp.pad(x, 1, mode="edge", stat_length=2), ValueError, "pad got stat_length= with mode='edge'"),
    (lambda: gnp.pad(x, 1, mode="mean", end_values=2), ValueError, "which takes only stat_length="),
    (lambda: gnp.pad(x, 1, mode="mean", stat_length=0), ValueError, "a statistic is of at least one element"),
    (
        lambda: gnp.pad(x, 1, mode="median", stat_length=(1, 2, 3)),
        ValueError,
        "pad got stat_length (1, 2, 3) for f32[3]",
    ),
    (lambda: gnp.pad(x, 1, mode="reflect", reflect_type="up"), ValueError, "it takes 'even' and 'odd'"),
    (lambda: gnp.pad(x[:0], 1, mode="edge"), ValueError, "axis 0 has no elements to go on from"),
    (lambda: gnp.pad(x, 1, lambda v, *_: None), TypeError, "pad: the function returned None"),
    (lambda: gnp.pad(x, 1, lambda v, *_: v[1:]), ValueError, "and returned f32[4]: keep its length"),
    (lambda: gnp.diag(gnp.ones((1, 1, 1))), ValueError, "diag takes a vector or a matrix"),
    (lambda: gnp.tril(x), ValueError, "tril takes matrices"),
    (lambda: gnp.where(x > 0), TypeError, "Write where(condition, x, y)"),
    (lambda: gnp.unravel_index(x, (2, 3)), TypeError, "unravel_index takes integers, got f32[3]"),
    (lambda: gnp.ravel_multi_index((x, x), (2, 3)), TypeError, "ravel_multi_index takes integers, got f32[3]"),
    (lambda: gnp.linspace(0, 1, -1), ValueError, "linspace takes num >= 0"),
    (lambda: gnp.meshgrid(x, x, indexing="yx"), ValueError, "it takes 'xy' and 'ij'"),
    (lambda: gnp.linalg.norm(A, 3), ValueError, "norm of a matrix takes ord None, 'fro', 'nuc', 1, -1, 2, -2, inf or"),
    (lambda: gnp.linalg.norm(x, "inf"), ValueError, "Write graphad.numpy.inf without quotes"),
    (lambda: gnp.linalg.matrix_norm(x), ValueError, "matrix_norm takes matrices, got f32[3]"),
    (lambda: gnp.linalg.vector_norm(x, ord="fro"), ValueError, "takes a number as ord, got 'fro'"),
    (lambda: gnp.linalg.diagonal(x), ValueError, "linalg.diagonal takes matrices, got f32[3]"),
    (lambda: gnp.linalg.trace(x), ValueError, "linalg.trace takes matrices"),
    (lambda: gnp.linalg.cross(x[:2], x[:2]), ValueError, "graphad.numpy.cross takes such of 2, too"),
    (lambda: gnp.linalg.outer(A, x), ValueError, "graphad.numpy.outer flattens its arguments"),
    (lambda: gnp.linalg.matrix_power(A, 2), ValueError, "matrix_power takes square matrices, (..., n, n), not"),
    (lambda: gnp.linalg.matrix_power(A[:, :3], 0.5), TypeError, "takes an integer as n, got 0.5"),
    (lambda: gnp.linalg.multi_dot([A]), ValueError, "takes two arrays or more, got 1"),
    (lambda: gnp.linalg.multi_dot([A, A]), ValueError, "got f32[3,4], f32[3,4]: it takes matrices"),
    (lambda: gnp.linalg.multi_dot([x, x, x]), ValueError, "the first and the last may be vectors"),
    (lambda: gnp.average(A, weights=x), ValueError, "weights have the shape of the array"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_message(call, error, message):
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert message in text
    assert text.startswith("test_numpy_errors.py:")
    assert text.count("test_numpy_errors.py:") == 1


def test_the_line_is_the_users():
    with pytest.raises(TypeError) as caught:
        gnp.stack(  # the call begins here
            [gnp.sin([1.0])]
        )
    line = test_the_line_is_the_users.__code__.co_firstlineno + 3
    assert str(caught.value).startswith(f"test_numpy_errors.py:{line}: sin")


def test_errors_inside_a_trace_are_the_same():
    with pytest.raises(TypeError, match=r"^test_numpy_errors.py:\d+: add got shapes \(3,4\) and \(3,\)"):
        graphad.grad(lambda a: (a + x).sum())(A)
    with pytest.raises(TypeError, match=r"^test_numpy_errors.py:\d+: and got f32\[3,4\]"):
        graphad.grad(lambda a: (a & 1).sum())(A)


def test_what_needs_known_values_says_so():
    with pytest.raises(TypeError, match=r"a traced mask of type bool\[3\] has no known number of true elements"):
        graphad.jit(lambda v: v[v > 0])(x)
    with pytest.raises(TypeError, match=r"Write graphad.numpy.where\(mask, values, x\)"):
        graphad.jit(lambda v: v.at[v > 0].set(v))(x)
    with pytest.raises(TypeError, match="would cut its derivative"):
        graphad.grad(lambda v: gnp.arange(v).sum())(3.0)


def test_names_that_cannot_be_say_why():
    with pytest.raises(
        AttributeError, match=r"^test_numpy_errors.py:\d+: graphad.numpy has no unique: the shape of its"
    ):
        gnp.unique(x)
    assert not hasattr(gnp, "nope")
