"""Matrices of a known pattern in `graphad.scipy.linalg`, against SciPy's."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg as theirs

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as ours
from graphad.config import config
from tests.compose.tools import close, f64

RNG = np.random.default_rng(3)


def normal(*shape):
    return f64(RNG.normal(size=shape))


#: Functions of arrays, by the shapes of their arguments.
OF_ARRAYS = {
    "block_diag": [
        ((2, 3), (1, 2)),
        ((2, 2),),
        ((3,), (), (2, 1)),
        ((0, 2), (2, 2)),
        ((2, 0), (1, 1), (0, 3)),
        ((0,),),
    ],
    "toeplitz": [
        ((4,),),
        ((1,),),
        ((0,),),
        ((3,), (5,)),
        ((4,), (2,)),
        ((1,), (1,)),
        ((3,), (0,)),
        ((0,), (3,)),
        ((),),
    ],
    "hankel": [((4,),), ((1,),), ((3,), (5,)), ((4,), (2,)), ((1,), (1,)), ((3,), (1,))],
    "circulant": [((4,),), ((1,),), ((2,),)],
    "companion": [((2,),), ((3,),), ((6,),)],
    "fiedler": [((1,),), ((4,),)],
    "fiedler_companion": [((2,),), ((3,),), ((4,),), ((7,),), ((8,),)],
    "leslie": [((2,), (1,)), ((5,), (4,))],
}
CALLS = {f"{name} {shapes}": (name, shapes) for name, table in OF_ARRAYS.items() for shapes in table}


def operands(shapes):
    return [normal(*shape) for shape in shapes]


@pytest.mark.parametrize("call", CALLS)
def test_functions_of_arrays(call):
    name, shapes = CALLS[call]
    xs = operands(shapes)
    function = getattr(ours, name)
    expected = getattr(theirs, name)(*xs)
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
        args = [x.astype(dtype) for x in xs]
        for found in (function(*args), graphad.jit(function)(*args)):
            assert found.dtype == dtype
            close(found, expected, tolerance)
    graphad.check_grads(function, tuple(xs), order=2)
    others = [-0.5 * x for x in xs]
    found = graphad.vmap(function)(*[np.stack(pair) for pair in zip(xs, others, strict=True)])
    close(found, np.stack([expected, getattr(theirs, name)(*others)]), 1e-12)


@pytest.mark.parametrize("name", [name for name in OF_ARRAYS if name != "block_diag"])
def test_axes_in_front_are_batches(name):
    """Also where only one operand has them."""
    shapes = OF_ARRAYS[name][-1] if name not in ("toeplitz", "hankel") else ((4,), (3,))
    one = operands(shapes)
    many = [np.stack([x, 2 * x + 1, x - 3]) for x in one]
    function = getattr(ours, name)
    expected = np.stack([getattr(theirs, name)(*[x[k] for x in many]) for k in range(3)])
    close(function(*many), expected, 1e-12)
    mixed = function(many[0], *one[1:])
    close(mixed, np.stack([getattr(theirs, name)(many[0][k], *one[1:]) for k in range(3)]), 1e-12)


def test_blocks_of_batches():
    x, y = normal(3, 1, 2, 2), normal(4, 1, 3)
    found = ours.block_diag(x, y)
    assert found.shape == (3, 4, 3, 5)
    close(found[2, 1], theirs.block_diag(x[2, 0], y[1]), 1e-15)


def test_dtypes():
    i, b = np.arange(1, 5), np.array([True, False])
    assert ours.toeplitz(i).dtype == i.dtype
    assert ours.toeplitz(b).dtype == bool
    assert ours.toeplitz(i[:2], normal(3)).dtype == np.float64
    assert ours.hankel(b).tolist() == [[True, False], [False, False]]
    assert ours.circulant(np.arange(3, dtype=np.int8)).dtype == np.int8
    assert ours.companion(np.arange(1, 4, dtype=np.int32)).dtype == np.float32
    assert ours.companion(np.arange(1, 4, dtype=np.float16)).dtype == np.float16
    assert ours.fiedler(np.array([1, 9], np.int32)).dtype == np.int32
    assert ours.block_diag(np.ones((1, 1), np.float32), np.ones((1, 1), np.int32)).dtype == np.float32
    assert ours.block_diag().shape == theirs.block_diag().shape
    assert ours.leslie(np.array([0.5, 2.0], np.float32), np.array([0.5], np.float32)).dtype == np.float32
    # SciPy forgets an axis here; JAX does not.
    assert ours.fiedler_companion(normal(1)).shape == (0, 0)
    assert ours.fiedler(normal(0)).shape == (0, 0)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolution_matrices(mode):
    for m in (1, 2, 3, 4, 7):
        for n in (1, 2, 3, 4, 8):
            a, v = normal(m), normal(n)
            found = ours.convolution_matrix(a, n, mode)
            close(found, theirs.convolution_matrix(a, n, mode), 1e-15)
            if mode != "same" or m >= n:  # SciPy keeps the length of the longer one, of which NumPy keeps the middle
                close(found @ v, np.convolve(a, v, mode), 1e-12)
    graphad.check_grads(lambda a: ours.convolution_matrix(a, 3, mode), (normal(5),), order=2)
    close(
        graphad.vmap(lambda a: ours.convolution_matrix(a, 3, mode))(np.eye(4)),
        np.stack([theirs.convolution_matrix(a, 3, mode) for a in np.eye(4)]),
    )


def test_polynomials_have_the_roots_of_their_companions():
    roots = np.array([-2.0, 0.5, 1.0, 3.0])
    for function in (ours.companion, ours.fiedler_companion):
        found = np.linalg.eigvals(np.asarray(function(2 * np.poly(roots))))
        close(np.sort(found.real), roots, 1e-9)


def test_the_derivative_of_a_leading_coefficient():
    """Only the quotients depend on it."""
    found = graphad.jacfwd(ours.companion)(f64([2.0, 6.0, -4.0]))
    close(found[0, 0], [1.5, -0.5, 0.0])
    close(found[1], np.zeros((2, 3)))


# ---------------------------------------------------------------------------------------------------------------------
# Of sizes

OF_SIZES = {
    "hilbert": lambda m, n: m.hilbert(n),
    "invhilbert": lambda m, n: m.invhilbert(n),
    "pascal": lambda m, n: m.pascal(n),
    "lower pascal": lambda m, n: m.pascal(n, "lower"),
    "upper pascal": lambda m, n: m.pascal(n, kind="upper"),
    "invpascal": lambda m, n: m.invpascal(n, kind="symmetric"),
    "lower invpascal": lambda m, n: m.invpascal(n, "lower"),
    "upper invpascal": lambda m, n: m.invpascal(n, "upper"),
    "helmert": lambda m, n: m.helmert(n),
    "full helmert": lambda m, n: m.helmert(n, full=True),
}


@pytest.mark.parametrize("n", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("name", OF_SIZES)
def test_functions_of_sizes(name, n):
    expected = np.asarray(OF_SIZES[name](theirs, n), np.float64)
    for bits in (32, 64):
        with config.override(default_dtype_bits=bits):
            found = OF_SIZES[name](ours, n)
            assert found.dtype == f"float{bits}"
            close(found, expected.astype(found.dtype), 1e-6 if bits == 32 else 1e-14)
    x = normal(*expected.shape)
    found = graphad.jit(lambda x: OF_SIZES[name](ours, n) * x)(x)  # as constants of a program
    close(found, expected.astype(np.float32) * x, 1e-6)


def test_of_no_size():
    for name in ("hilbert", "invhilbert", "pascal", "invpascal"):
        assert getattr(ours, name)(0).shape == (0, 0)


@pytest.mark.parametrize("n", [1, 2, 8, 32])
def test_hadamard(n):
    found = ours.hadamard(n)
    assert found.dtype == np.int32
    assert found.tolist() == theirs.hadamard(n).tolist()
    assert ours.hadamard(n, float).dtype == np.float32
    assert (ours.hadamard(n, "int8") @ ours.hadamard(n, "int8").T).tolist() == (n * np.eye(n)).tolist()


def test_inverses_are_exact():
    with config.override(default_dtype_bits=64):
        for n in (2, 5, 8):
            hilbert = [[Fraction(1, i + j + 1) for j in range(n)] for i in range(n)]
            inverse = ours.invhilbert(n).tolist()
            product = [[sum(a * int(inverse[k][j]) for k, a in enumerate(row)) for j in range(n)] for row in hilbert]
            assert product == np.eye(n, dtype=int).tolist()
            for kind in ("symmetric", "lower", "upper"):
                assert (ours.pascal(n, kind) @ ours.invpascal(n, kind)).tolist() == np.eye(n).tolist()


def test_what_is_too_large_is_infinite():
    assert gnp.isinf(ours.pascal(80)[-1, -1])  # 1e47
    with config.override(default_dtype_bits=64):
        assert float(ours.pascal(80)[-1, -1]) == float(theirs.pascal(80, exact=True)[-1, -1])
        assert float(ours.invpascal(520, "lower")[519, 0]) == -1.0
        assert float(ours.invhilbert(250)[200, 201]) == -np.inf


# ---------------------------------------------------------------------------------------------------------------------
# Errors

X = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ours.toeplitz([1.0]), TypeError, "toeplitz"),
        (lambda: ours.toeplitz(np.ones((2, 3)), np.ones((4, 3))), TypeError, "toeplitz got shapes"),
        (lambda: ours.hankel(1.0), ValueError, "hankel takes arrays of at least one axis, got f32[]"),
        (lambda: ours.block_diag(np.ones((2, 1, 1)), np.ones((3, 1, 1))), TypeError, "block_diag got shapes"),
        (lambda: ours.companion(X[:1]), ValueError, "companion takes two coefficients or more, got f32[1]"),
        (lambda: ours.fiedler_companion(X[:0]), ValueError, "fiedler_companion takes at least one coefficient"),
        (lambda: ours.leslie(X, X), ValueError, "leslie got f32[3] and f32[3]: it takes two birth rates or more"),
        (lambda: ours.leslie(X[:1], X[:0]), ValueError, "it takes two birth rates or more"),
        (lambda: ours.convolution_matrix(X, 0), ValueError, "convolution_matrix takes n >= 1, got 0"),
        (lambda: ours.convolution_matrix(X[:0], 2), ValueError, "takes at least one element, got f32[0]"),
        (lambda: ours.convolution_matrix(X, 2, "half"), ValueError, "got mode='half'; it takes 'full', 'same' and"),
        (lambda: ours.hilbert(2.0), TypeError, "hilbert takes an integer as n, got 2.0"),
        (lambda: ours.pascal(-1), ValueError, "pascal takes n >= 0, got -1"),
        (lambda: ours.pascal(2, "left"), ValueError, "got kind='left'; it takes 'symmetric', 'lower' and 'upper'"),
        (lambda: ours.invpascal(2, "left"), ValueError, "invpascal got kind='left'"),
        (lambda: ours.hadamard(6), ValueError, "hadamard takes a power of 2 as n, got 6"),
        (lambda: ours.hadamard(0), ValueError, "hadamard takes n >= 1, got 0"),
        (lambda: ours.helmert(0), ValueError, "helmert takes n >= 1, got 0"),
    ],
)
def test_errors_say_what_to_do(call, error, message):
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert message in text
    assert text.startswith("test_patterns.py:")
