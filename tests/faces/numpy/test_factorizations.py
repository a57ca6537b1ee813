"""Functions made of factorizations against JAX in double precision: values and derivatives, of any shape."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.trace.pytree import flatten
from tests.compose.tools import close
from tests.faces.numpy.factorization_cases import CASES, matrices, shapes_of
from tests.faces.oracle import width
from tests.thinned import every

EACH = pytest.mark.parametrize("name", CASES)
EVERY_SHAPE = pytest.mark.parametrize(
    ("name", "shape"),
    every(2, [(name, shape) for name, case in CASES.items() for shape in shapes_of(case)], several=True),
)


def check(found, expected, tolerance):
    """Nearly equal, for the size of the largest element."""
    xs, ys = [np.asarray(x) for x in flatten(found)[0]], [np.asarray(y) for y in jax.tree.leaves(expected)]
    assert len(xs) == len(ys)
    for x, y in zip(xs, ys, strict=True):
        assert x.shape == y.shape
        assert np.isfinite(y).all()
        scale = np.abs(y).max(initial=1e-3)
        np.testing.assert_allclose(x.astype(np.float64), y, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("n", [4, 9, 21])
def test_determinants_have_the_same_bits_alone_and_in_a_stack(n):
    stack = np.random.default_rng(n).normal(size=(20, n, n))
    for f in (gnp.linalg.det, gnp.linalg.slogdet):
        compiled = graphad.jit(f)
        for together in (compiled(stack), graphad.jit(graphad.vmap(f))(stack)):
            for k, x in enumerate(stack):
                for one, all_of_them in zip(flatten(compiled(x))[0], flatten(together)[0], strict=True):
                    assert np.asarray(one) == np.asarray(all_of_them)[k]


def ours(name):
    return lambda x: CASES[name].function(gnp, x)


def theirs(name):
    return lambda x: CASES[name].function(jnp, x)


def weighted(f, module, leaves_of):
    """A number made of all elements of the results of ``f``."""

    def number(x):
        total = 0.0
        for y in leaves_of(f(x)):
            total = total + (y * np.cos(np.arange(y.size) + 1.0).astype(y.dtype).reshape(y.shape)).sum()
        return module.asarray(total)

    return number


def our_number(name):
    return weighted(ours(name), gnp, lambda y: flatten(y)[0])


def their_number(name):
    return weighted(theirs(name), jnp, jax.tree.leaves)


@cache
def of_jax(name, shape):
    """The values, in double precision."""
    with width(64):
        return jax.jit(theirs(name))(matrices(CASES[name].of, shape))


@EVERY_SHAPE
def test_values(name, shape):
    x, expected = matrices(CASES[name].of, shape), of_jax(name, shape)
    f = ours(name)
    with width(64):
        check(f(gnp.asarray(x)), expected, 1e-11)
        check(graphad.jit(f)(x), expected, 1e-11)
    single = flatten(graphad.jit(f)(x.astype(np.float32)))[0]
    assert {y.dtype for y in single} == {np.dtype(np.float32)}
    check(single, jax.tree.leaves(expected), 2e-4 if max(shape) < 10 else 2e-3)


def shapes_to_derive(name):
    """A matrix, or a stack of two; of functions of any matrices, high and wide ones too."""
    case = CASES[name]
    shapes = [(3, 3), (5, 2), (2, 4)] if case.of == "any" else [(4, 4)]
    return shapes if case.single else [*shapes, (2, 3, 3)]


@pytest.mark.parametrize(
    ("name", "shape"), every(2, [(name, shape) for name in CASES for shape in shapes_to_derive(name)], several=True)
)
def test_derivatives(name, shape):
    """Forward, reverse, and of second order, as JAX's."""
    x, t = matrices(CASES[name].of, shape), matrices(CASES[name].of, shape, seed=1)
    with width(64):
        f, g = our_number(name), their_number(name)
        expected = jax.jit(lambda x, t, g=g: jax.jvp(jax.grad(g), (x,), (t,)))(x, t)
        slope = jax.jit(lambda x, t: jax.jvp(theirs(name), (x,), (t,))[1])(x, t)
        check(graphad.jvp(ours(name), (x,), (t,))[1], slope, 1e-9)
        check(graphad.grad(f)(x), expected[0], 1e-9)
        check(graphad.jit(graphad.grad(f))(x), expected[0], 1e-9)
        second = graphad.grad(lambda x, f=f, t=t: (graphad.grad(f)(x) * t).sum())
        check(graphad.jit(second)(x), expected[1], 1e-8)
    found = graphad.grad(our_number(name))(x.astype(np.float32))
    assert found.dtype == np.float32
    check(found, expected[0], 1e-3)


@EACH
def test_gradients_of_larger_matrices(name):
    case = CASES[name]
    shape = (33, 17) if case.of == "any" else (17, 17)
    x = matrices(case.of, shape)
    with width(64):
        check(graphad.jit(graphad.grad(our_number(name)))(x), jax.jit(jax.grad(their_number(name)))(x), 1e-8)


@EACH
def test_batched(name):
    """Along any axis, and its gradients; each as of the matrix alone."""
    case = CASES[name]
    x = np.stack([matrices(case.of, (3, 3), seed) for seed in range(4)])
    with width(64):
        expected = [ours(name)(gnp.asarray(m)) for m in x]
        stacked = [np.stack(parts) for parts in zip(*[map(np.asarray, flatten(y)[0]) for y in expected], strict=True)]
        for axis in (0, 1, -1):
            moved = np.ascontiguousarray(np.moveaxis(x, 0, axis))
            check(graphad.vmap(ours(name), in_axes=axis)(moved), stacked, 1e-11)
            check(graphad.jit(graphad.vmap(ours(name), in_axes=axis))(moved), stacked, 1e-11)
        f = our_number(name)
        check(graphad.vmap(graphad.grad(f))(x), np.stack([np.asarray(graphad.grad(f)(m)) for m in x]), 1e-10)


@EACH
def test_arrays_that_are_not_contiguous(name):
    x = matrices(CASES[name].of, (4, 4))
    larger = np.zeros((8, 9))
    larger[::2, 1:5] = x
    views = [np.asfortranarray(x), larger[::2, 1:5], x[::-1, ::-1].copy()[::-1, ::-1]]
    with width(64):
        expected = flatten(ours(name)(x))[0]
        for view in views:
            assert not view.flags.c_contiguous
            check(ours(name)(view), expected, 1e-13)
            check(graphad.jit(ours(name))(view), expected, 1e-12)


#: Single functions; cases with steps of their own would round between them.
ALONE = {
    "cholesky": lambda x: gnp.linalg.cholesky(x),
    "qr": lambda x: gnp.linalg.qr(x),
    "qr r": lambda x: gnp.linalg.qr(x, mode="r"),
    "eigh": lambda x: gnp.linalg.eigh(x),
    "eigvalsh": lambda x: gnp.linalg.eigvalsh(x),
    "svd": lambda x: gnp.linalg.svd(x),
    "svdvals": lambda x: gnp.linalg.svdvals(x),
    "svd hermitian": lambda x: gnp.linalg.svd(x, hermitian=True),
    "solve": lambda x: gnp.linalg.solve(x, b=HALF.astype(x.dtype)),
    "inv": lambda x: gnp.linalg.inv(x),
    "det": lambda x: gnp.linalg.det(x),
    "slogdet": lambda x: gnp.linalg.slogdet(x),
    "pinv": lambda x: gnp.linalg.pinv(x[:2]),
    "pinv hermitian": lambda x: gnp.linalg.pinv(x, hermitian=True),
    "lstsq": lambda x: gnp.linalg.lstsq(x[:, :2], HALF.astype(x.dtype)),
    "cond": lambda x: gnp.linalg.cond(x),
    "cond 1": lambda x: gnp.linalg.cond(x, p=1),
    "matrix_rank": lambda x: gnp.linalg.matrix_rank(x),
    "norm nuc": lambda x: gnp.linalg.norm(x, "nuc"),
    "norm 2": lambda x: gnp.linalg.norm(x, 2),
    "tensorsolve": lambda x: gnp.linalg.tensorsolve(x, HALF.astype(x.dtype)),
    "tensorinv": lambda x: gnp.linalg.tensorinv(x, 1),
    "power": lambda x: gnp.linalg.matrix_power(x, -2),
}
HALF = np.array([0.5, -1.5, 2.0])
SIXTEEN = np.array([[3.5, 0.5, -0.25], [0.5, -2.25, 1.5], [-0.25, 1.5, 6.125]])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ALONE)
def test_sixteen_bits(name, dtype):
    """Computed in float32 and rounded once, derivatives too."""
    x, f = (SIXTEEN + (4.5 * np.diag([0, 1, 0]) if name == "cholesky" else 0)).astype(dtype), ALONE[name]
    wide = x.astype(np.float32)
    narrow, exact = flatten(f(x))[0], flatten(f(wide))[0]
    for found, expected in zip(narrow, exact, strict=True):
        assert found.dtype == (dtype if expected.dtype == np.float32 else expected.dtype)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected).astype(found.dtype))
    if name == "matrix_rank":
        return

    def first(x):
        return flatten(f(x))[0][0].astype(np.float32).sum()

    expected = np.asarray(graphad.grad(first)(wide))
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(np.asarray(graphad.grad(first)(x)), expected.astype(dtype))


# ---------------------------------------------------------------------------------------------------------------------
# What is asked of factors themselves


def up_to_signs(found, expected, axis):
    """Vectors along an axis, each of which may point the other way."""
    signs = np.sign((found * expected).sum(axis, keepdims=True))
    np.testing.assert_allclose(found * signs, expected, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [*shapes_of(CASES["qr"]), (33, 17), (17, 33)])
def test_factors_make_the_matrix(shape, dtype):
    """Orthonormal columns, and products that are the matrix."""
    x = matrices("any", shape).astype(dtype)
    tolerance = 3e-4 if dtype is np.float32 else 1e-12
    m, n = shape[-2:]
    for full in (False, True):
        k, columns = (m, n) if full else (min(m, n), min(m, n))
        q, r = (np.asarray(y, np.float64) for y in gnp.linalg.qr(x, "complete" if full else "reduced"))
        u, s, vt = (np.asarray(y, np.float64) for y in gnp.linalg.svd(x, full_matrices=full))
        assert q.shape == u.shape == (*shape[:-1], k)
        assert vt.shape == (*shape[:-2], columns, n)
        for vectors in (q, u, np.swapaxes(vt, -1, -2)):
            close(np.swapaxes(vectors, -1, -2) @ vectors, np.broadcast_to(np.eye(vectors.shape[-1]),
                  (*shape[:-2], *[vectors.shape[-1]] * 2)), tolerance)  # fmt: skip
        close(q @ r, x.astype(np.float64), tolerance)
        assert (np.tril(r, -1) == 0).all()
        least = min(m, n)
        close((u[..., :least] * s[..., None, :]) @ vt[..., :least, :], x.astype(np.float64), tolerance)
        assert (np.diff(s, axis=-1) <= 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (17, 17), (2, 4, 4)])
def test_vectors_are_jaxs_up_to_signs(shape):
    x, y = matrices("any", shape), matrices("symmetric", shape)
    with width(64):
        ours_u, _, ours_vt = map(np.asarray, gnp.linalg.svd(x))
        u, _, vt = map(np.asarray, jnp.linalg.svd(x))
        v, expected = np.asarray(gnp.linalg.eigh(y).eigenvectors), np.asarray(jnp.linalg.eigh(y)[1])
    up_to_signs(ours_u, u, -2)
    up_to_signs(ours_vt, vt, -1)
    up_to_signs(v, expected, -2)
    close(np.sign((ours_u * u).sum(-2)), np.sign((ours_vt * vt).sum(-1)))
    close(y @ v, v * np.linalg.eigvalsh(y)[..., None, :], 1e-11)


def test_the_other_triangle_is_not_read():
    x = matrices("definite", (4, 4))
    lower = np.where(np.tri(4), x, np.nan)
    for found, function in (
        (gnp.linalg.cholesky(lower, symmetrize_input=False), np.linalg.cholesky),
        (gnp.linalg.eigvalsh(lower, symmetrize_input=False), np.linalg.eigvalsh),
        (gnp.linalg.eigvalsh(lower.T, "U", symmetrize_input=False), np.linalg.eigvalsh),
        (gnp.linalg.cholesky(lower.T, upper=True, symmetrize_input=False).T, np.linalg.cholesky),
    ):
        close(found, function(x), 1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


INTEGERS = np.array([[4, 1, 0], [1, 5, -2], [0, -2, 6]])


#: Cases of which steps of their own would be of integers.
OF_INTEGERS = {name: ALONE[name] for name in ("qr", "qr r", "svd", "det", "slogdet", "pinv hermitian")}
OF_INTEGERS["tensorsolve"] = lambda x: gnp.linalg.tensorsolve(x, HALF.astype(np.float32))


@EACH
@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint16, bool])
def test_integers_are_floats(name, dtype):
    x = np.eye(3, dtype=bool) if dtype is bool else np.abs(INTEGERS).astype(dtype)
    f = OF_INTEGERS.get(name, ours(name))
    for one, other in zip(*[flatten(f(y))[0] for y in (x, x.astype(np.float32))], strict=True):
        assert one.dtype == other.dtype == np.float32
        close(one, other, 1e-6)


@pytest.mark.parametrize(
    "function",
    [
        "cholesky",
        "qr",
        "eigh",
        "eigvalsh",
        "svd",
        "svdvals",
        "inv",
        "det",
        "slogdet",
        "pinv",
        "cond",
        "matrix_rank",
        "norm",
        "matrix_norm",
        "tensorinv",
    ],
)
def test_lists_are_refused(function):
    """As by all functions of graphad, which say what to write."""
    with pytest.raises(TypeError, match=r"expected an array or a number, not list: write graphad.numpy.array"):
        getattr(gnp.linalg, function)([[2.0, 0.0], [0.0, 3.0]])


def test_matrix_rank():
    x = matrices("any", (2, 5, 3))
    x[1, :, 2] = x[1, :, 0]
    assert gnp.linalg.matrix_rank(x).tolist() == [3, 2]
    assert graphad.jit(gnp.linalg.matrix_rank)(x.astype(np.float32)).tolist() == [3, 2]
    assert graphad.vmap(gnp.linalg.matrix_rank)(x).tolist() == [3, 2]
    s = np.linalg.svd(x[0], compute_uv=False)
    assert int(gnp.linalg.matrix_rank(x[0], tol=(s[1] + s[2]) / 2)) == 2
    assert int(gnp.linalg.matrix_rank(x[0], rtol=(s[1] + s[2]) / 2 / s[0])) == 2
    for shape in ((0, 0), (0, 3), (3, 0)):
        assert int(gnp.linalg.matrix_rank(np.zeros(shape))) == 0
    assert gnp.linalg.matrix_rank(np.zeros((0, 3, 3))).shape == (0,)
    assert [int(gnp.linalg.matrix_rank(np.array(v))) for v in ([0.0, 0.0], [0.0, 2.0])] == [0, 1]


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (17, 2)])
@pytest.mark.parametrize("columns", [(), (1,), (3,)])
def test_lstsq(shape, columns):
    """As NumPy's, of full rank and not."""
    for rank in (min(shape), min(shape) - 1):
        a = matrices("any", shape)
        if rank < min(shape):
            a[rank] = a[0]
            a = a if shape[0] == min(shape) else a @ np.diag([*[1.0] * rank, *[0.0] * (shape[1] - rank)])
        b = matrices("any", (shape[0], *(columns or (1,)))).reshape(shape[0], *columns) + 1
        expected = np.linalg.lstsq(a, b, rcond=1e-10)
        found = gnp.linalg.lstsq(a, b, rcond=1e-10, numpy_resid=True)
        for one, other in zip(found, expected, strict=True):
            close(np.reshape(one, np.shape(other)), other, 1e-9)
        x, residuals, *_ = graphad.jit(lambda a, b: gnp.linalg.lstsq(a, b, rcond=1e-10))(a, b)
        close(x, expected[0], 1e-9)
        close(residuals, np.sum((a @ expected[0] - b).reshape(shape[0], -1) ** 2, 0), 1e-9)
