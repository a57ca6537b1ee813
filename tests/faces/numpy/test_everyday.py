"""The functions of `tests.faces.numpy.cases_everyday`: as JAX's, their derivatives, compiled, and wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.faces.numpy.cases_everyday import CONCRETE, EVERYDAY, QUESTIONS
from tests.faces.oracle import by_jax, check_equal, check_like_jax, eagerly, width
from tests.thinned import every

# Where JAX has no answer, NumPy's parity tests have.
NOT_IN_JAX = ("numpy.array([True, False, True]), numpy.array([0, 3])", "wrap=True, inplace")
CASES = [case for case in EVERYDAY if not any(part in case for part in NOT_IN_JAX)]


# Positions are int32 and `tri` is float32 in JAX at any width; here they have the default type, as in NumPy.
NARROW = ("searchsorted", "digitize", "np.tri(", "argpartition")
WIDE = [case for case in CASES if not any(part in case for part in NARROW)]


SOME, SOME_WIDE = CASES[::8], WIDE[3::40]


# JAX takes long to compile, so most of the cases are left to the slow tests.
@pytest.mark.parametrize("case", SOME)
def test_like_jax(case):
    check_like_jax(case, 32, SOME)


@pytest.mark.parametrize("case", SOME_WIDE)
def test_like_jax_in_64_bits(case):
    check_like_jax(case, 64, SOME_WIDE)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "bits"), [*[(case, 32) for case in CASES], *[(case, 64) for case in WIDE]])
def test_all_like_jax(case, bits):
    check_like_jax(case, bits, CASES if bits == 32 else WIDE)


@pytest.mark.parametrize("case", QUESTIONS)
def test_questions_like_jax(case):
    with width(32):
        assert eagerly(case, 32) == by_jax(case, 32)


@pytest.mark.parametrize("case", CONCRETE)
def test_with_known_values_like_jax(case):
    with width(32):
        check_equal(eagerly(case, 32), by_jax(case, 32), ulps=16)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives

X = np.array([0.3, -0.6, 0.8, 1.7])
Y = np.array([1.5, 0.4, 2.2, 0.9])
A = np.array([[0.3, -0.6, 0.8, 1.7], [1.1, 0.2, -0.9, 0.5], [-1.3, 0.7, 0.4, -0.2]])
K = np.array([2, 0, 3])


def holes(x):
    """Some elements nan."""
    return gnp.where(np.eye(3, 4) > 0, np.nan, x)


SMOOTH = {
    "nansum": (lambda x: gnp.nansum(holes(x), 1) ** 2, A), "nanprod": (lambda x: gnp.nanprod(holes(x), 0), A + 2),
    "nanmax": (lambda x: gnp.nanmax(holes(x), 1) ** 2, A), "nanmean": (lambda x: gnp.nanmean(holes(x), 1) ** 2, A),
    "nanvar": (lambda x: gnp.nanvar(holes(x), 0), A), "nanstd": (lambda x: gnp.nanstd(holes(x), 1), A),
    "nanmedian": (lambda x: gnp.nanmedian(holes(x), 1) ** 2, A + 3),
    "nanquantile": (lambda x: gnp.nanquantile(holes(x), 0.3, 0) ** 2, A + 3),
    "ptp": (lambda x: gnp.ptp(x, 1) ** 2, A), "cov": (gnp.cov, A), "corrcoef": (gnp.corrcoef, A),
    "weighted cov": (lambda x, w: gnp.cov(x, aweights=w**2), A, Y),
    "bincount": (lambda w: gnp.bincount(K, w**2, length=4), X[:3]),
    "histogram": (lambda w: gnp.histogram(A, 3, weights=w**2)[0], A),
    "interp": (lambda x, y: gnp.interp(x, np.linspace(-1, 2, 4), y**2), X, Y),
    "interp points": (lambda p: gnp.interp(X[:3], p, p**3), np.array([-1.0, 0.1, 0.5, 2.0])),
    "periodic interp": (lambda x, y: gnp.interp(x, np.linspace(0.15, 1, 4), y**2, period=1.3), X, Y),
    "diff": (lambda x: gnp.diff(x, 2) ** 2, X), "ediff1d": (lambda x: gnp.ediff1d(x, x[:1]) ** 2, X),
    "gradient": (lambda x, h: gnp.gradient(x, gnp.cumsum(h)), X, Y), "unwrap": (lambda x: gnp.unwrap(5 * x) ** 2, X),
    "trapezoid": (lambda x, h: gnp.trapezoid(x * h, gnp.cumsum(h)), X, Y),
    "polyval": (gnp.polyval, X, Y), "polyadd": (lambda x: gnp.polyadd(x, x[1:]) ** 2, X),
    "polymul": (gnp.polymul, X, Y),
    "polydiv": (lambda x, y: gnp.polydiv(x, y[:2]), X, Y), "polyder": (lambda x: gnp.polyder(x) ** 2, X),
    "polyint": (lambda x: gnp.polyint(x, 2, x[:2]) ** 2, X), "poly": (gnp.poly, X), "vander": (gnp.vander, X),
    "cross": (lambda x: gnp.cross(x[0, :3], x[1, :3] * x[2, :3]), A), "kron": (gnp.kron, X, Y),
    "vecdot": (gnp.vecdot, A, Y), "matvec": (gnp.matvec, A, Y), "vecmat": (lambda x, y: gnp.vecmat(x[:3], y), X, A),
    "diagflat": (lambda x: gnp.diagflat(x) ** 2, X),
    "einsum": (lambda x, y: gnp.einsum("ij,jk,j->ik", x, x.T, y), A, Y),
    "dstack": (lambda x: gnp.dstack([x, x]) ** 2, A), "block": (lambda x: gnp.block([[x, x], [x, x**2]]) ** 2, A),
    "delete": (lambda x: gnp.delete(x, 1) ** 2, X), "insert": (lambda x, v: gnp.insert(x, K, v[:3] ** 2), X, Y),
    "resize": (lambda x: gnp.resize(x, 9) ** 2, X), "rot90": (lambda x: gnp.rot90(x) ** 2, A),
    "apply_along_axis": (lambda x: gnp.apply_along_axis(lambda v: v * v.sum(), 0, x), A),
    "apply_over_axes": (lambda x: gnp.apply_over_axes(gnp.sum, x**2, (0, 1)), A),
    "piecewise": (lambda x: gnp.piecewise(x, [x < 0], [gnp.square, gnp.exp]), X),
    "vectorize": (lambda x, y: gnp.vectorize(gnp.dot, signature="(n),(n)->()")(x, y), A, Y),
    "geomspace": (lambda x: gnp.geomspace(x, 5.0, 4), Y), "logspace": (lambda x: gnp.logspace(x, 1.0, 3), X),
    "put": (lambda x, v: gnp.put(x**2, K, v[:3] ** 2, inplace=False), X, Y),
    "put_along_axis": (lambda x: gnp.put_along_axis(x**2, K[:, None], x[:, :1] ** 3, 1, inplace=False), A),
    "place": (lambda x, v: gnp.place(x**2, X > 0, v**2, inplace=False), X, Y),
    "fill_diagonal": (lambda x, v: gnp.fill_diagonal(x**2, v[:3] ** 2, inplace=False), A, Y),
    "choose": (lambda x, y: gnp.choose(np.array([1, 0, 1, 0]), [x**2, y**3]), X, Y),
    "extract": (lambda x: gnp.extract(X > 0, x**2, size=4), X), "compress": (lambda x: gnp.compress(K > 0, x**2, 0), A),
    "partition": (lambda x: gnp.partition(x, 1) ** 2, X),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_two_derivatives(name):
    f, *args = SMOOTH[name]
    graphad.check_grads(f, tuple(args), order=2)


# ---------------------------------------------------------------------------------------------------------------------
# Compiled and batched


@pytest.mark.parametrize("engine", every(2, ["llvm", "numba"]))
def test_compiled(engine):
    """Some of each theme in one program."""

    def f(x, m, k):
        return (
            gnp.searchsorted(gnp.sort(x), m), gnp.interp(m, gnp.cumsum(abs(x) + 0.1), x), gnp.histogram(m, 3)[0],
            gnp.bincount(k, length=5), gnp.nanmedian(m, 1), gnp.nonzero(m > 0, size=7), gnp.unwrap(5 * m, axis=0),
            gnp.insert(m, 1, x, axis=0), gnp.cov(m), gnp.unravel_index(k, (2, 2)),
            gnp.choose(k, [x[:3], 1.0, 2.0, 3.0]),
        )  # fmt: skip

    args = X.astype(np.float32), A.astype(np.float32), K
    with graphad.config.override(engine=engine):
        got = graphad.tree.leaves(graphad.jit(f)(*args))
    for g, w in zip(got, graphad.tree.leaves(f(*args)), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)


def test_batched():
    def f(x, m):
        return (
            gnp.interp(x, gnp.sort(x), m[0]),
            gnp.searchsorted(gnp.sort(x), m),
            gnp.bincount(gnp.argsort(x), length=4),
        )

    xs, ms = np.stack([X, Y, X - Y]), np.stack([A, 2 * A, -A])
    got = graphad.vmap(f)(xs, ms)
    rows = [f(x, m) for x, m in zip(xs, ms, strict=True)]
    for k, column in enumerate(got):
        np.testing.assert_allclose(column, np.stack([np.asarray(row[k]) for row in rows]), rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Wrong calls

x = gnp.ones(3)
WRONG = [
    (lambda: gnp.put(x, 0, 1.0), ValueError, "put writes into its array, and arrays do not change. Write x = put("),
    (lambda: gnp.fill_diagonal(gnp.eye(2), 1.0), ValueError, "or x.at[i, i].set(v)"),
    (lambda: gnp.nonzero(gnp.float32(1)), ValueError, "write atleast_1d(x) first"),
    (lambda: graphad.jit(gnp.nonzero)(x), TypeError, "nonzero of a traced array has a shape that depends on values"),
    (lambda: graphad.jit(gnp.bincount)(gnp.arange(3)), TypeError, "Write bincount(x, length=n)"),
    (lambda: graphad.jit(lambda k: gnp.delete(x, k))(1), TypeError, "delete takes positions that are known"),
    (lambda: gnp.bincount(x), TypeError, "bincount got f32[3]; it takes integers"),
    (lambda: gnp.searchsorted(x, 1.0, side="middle"), ValueError, "it takes 'left' and 'right'"),
    (lambda: gnp.interp(x, x, gnp.ones(2)), ValueError, "interp got points f32[3] and f32[2]"),
    (lambda: gnp.digitize(x, gnp.eye(2)), ValueError, "digitize got bins f32[2,2]"),
    (lambda: gnp.histogram(x, bins="auto"), ValueError, "Give the number"),
    (lambda: gnp.cov(gnp.ones((2, 2, 2))), ValueError, "cov got f32[2,2,2]"),
    (lambda: gnp.cov(x, fweights=gnp.ones(2)), ValueError, "for 3 observations"),
    (lambda: gnp.gradient(gnp.ones(1)), ValueError, "needs at least 2 elements"),
    (lambda: gnp.gradient(x, 1.0, 2.0), TypeError, "got 2 spacings for 1 axes"),
    (lambda: gnp.diff(x, -1), ValueError, "diff takes n >= 0"),
    (lambda: gnp.polyval(2.0, x), ValueError, "polyval got the coefficients f32[]"),
    (lambda: gnp.polyint(x, 2, k=gnp.ones(3)), ValueError, "give 1 or 2"),
    (lambda: gnp.poly(gnp.eye(2)), ValueError, "eigenvalues"),
    (lambda: gnp.cross(gnp.ones(4), x), ValueError, "vectors of 2 or 3 elements"),
    (lambda: gnp.vecdot(x, gnp.ones(2)), ValueError, "vecdot got 3 and 2 elements"),
    (lambda: gnp.block((x, x)), TypeError, "Write list(...)"),
    (lambda: gnp.block([x, [x]]), ValueError, "unequal depth"),
    (lambda: gnp.rot90(gnp.eye(2), 1, (0, 0)), ValueError, "give two axes"),
    (lambda: gnp.tril_indices_from(x), ValueError, "takes a matrix, got f32[3]"),
    (lambda: gnp.diag_indices_from(gnp.ones((2, 3))), ValueError, "axes of one size"),
    (lambda: gnp.mgrid[3], TypeError, "take slices, got 3"),
    (lambda: gnp.r_["0,2", x], TypeError, "take no directives"),
    (lambda: gnp.ravel_multi_index((1,), (2, 2)), ValueError, "got 1 indices for 2 axes"),
    (lambda: gnp.choose(x, [x, x]), TypeError, "give integers"),
    (lambda: gnp.piecewise(x, [x > 0], []), ValueError, "got 0 functions for 1 conditions"),
    (lambda: gnp.vectorize(gnp.dot, signature="n,n->()")(x, x), ValueError, "write it as '(n,m),(m)->(n)'"),
    (lambda: gnp.vectorize(gnp.dot, signature="(n),(n)->()")(x, gnp.ones(2)), ValueError, "does not describe them"),
    (lambda: gnp.vectorize(gnp.dot)(x, b=x), TypeError, "only if they are excluded"),
    (lambda: gnp.quantile(x, 0.5, method="middle"), ValueError, "quantile got method='middle'"),
    (lambda: gnp.einsum_path("ij", x), ValueError, "'ij' does not describe f32[3]"),
    (lambda: gnp.unique(x), AttributeError, "the shape of its result depends on values"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_message(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
    assert str(caught.value).startswith("test_everyday.py:")
