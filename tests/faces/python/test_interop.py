"""Arrays among other libraries: NumPy's functions, DLPack, the array API, SciPy, scikit-learn, pandas, matplotlib."""

from __future__ import annotations

import operator as op

import jax
import matplotlib as mpl
import numpy as np
import pytest
import scipy.linalg
import scipy.special
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import graphad
import graphad.numpy as gnp
from graphad.errors import ConcretizationError

F32 = np.float32

# ---------------------------------------------------------------------------------------------------------------------
# NumPy's functions

TO_NUMPY = {
    "a ufunc": lambda x: np.sin(x),
    "a ufunc with keywords": lambda x: np.add(x, x, dtype=np.float64),
    "a ufunc's method": lambda x: np.add.reduce(x),
    "an outer product": lambda x: np.multiply.outer(x, x),
    "a ufunc of SciPy": lambda x: scipy.special.expit(x),
    "a function": lambda x: np.concatenate([x, np.ones(2, F32)]),
    "a function with a method": lambda x: np.mean(x),
    "linear algebra": lambda x: np.linalg.norm(x),
    "a keyword": lambda x: np.clip(x, a_min=x - 1, a_max=x),
    "a shape that depends on values": lambda x: np.unique(x),
}


@pytest.mark.parametrize("name", TO_NUMPY)
def test_functions_of_numpy_give_numpy(name):
    value = np.array([0.5, 2.0, -1.0], F32)
    result, expected = TO_NUMPY[name](gnp.asarray(value)), TO_NUMPY[name](value)
    assert type(result) is type(expected)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


OPERATORS = [
    op.add, op.sub, op.mul, op.truediv, op.floordiv, op.mod, op.pow, op.matmul, op.eq, op.ne, op.lt, op.le, op.gt,
    op.ge, divmod,
]  # fmt: skip
UFUNCS = [np.add, np.subtract, np.multiply, np.divide, np.floor_divide, np.remainder, np.power, np.matmul, np.equal,
          np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.divmod]  # fmt: skip


@pytest.mark.parametrize("operator", [*OPERATORS, *UFUNCS], ids=lambda f: f.__name__)
def test_operators_with_an_array_give_arrays(operator):
    a, b = np.array([1.0, 2.5, 4.0], F32), np.array([2.0, 2.5, 3.0], F32)
    expected = operator(a, b)
    for result in (operator(a, gnp.asarray(b)), operator(gnp.asarray(a), b), operator(gnp.asarray(a), gnp.asarray(b))):
        for r, e in zip(*((x if type(x) is tuple else (x,)) for x in (result, expected)), strict=True):
            assert type(r) is graphad.Array
            np.testing.assert_allclose(r, e, rtol=1e-6)


@pytest.mark.parametrize("operator", [op.and_, op.or_, op.xor, op.lshift, op.rshift])
def test_operators_on_bits(operator):
    a, b = np.array([5, 6, 7], np.int32), np.array([1, 2, 3], np.int32)
    assert type(operator(a, gnp.asarray(b))) is graphad.Array
    np.testing.assert_array_equal(operator(a, gnp.asarray(b)), operator(a, b))


def test_scalars_of_numpy_keep_their_weakness():
    x = gnp.ones(2)
    assert (np.float64(2) * x).dtype == F32
    assert (np.float64([2]) * x).dtype == np.float64


def test_in_place_operators_write_to_numpy_arrays():
    a = np.zeros(3)
    same = a
    a += gnp.arange(3.0)
    assert a is same
    assert a.tolist() == [0, 1, 2]


def test_nothing_writes_to_an_array():
    x = gnp.arange(3.0)
    for write in (lambda: np.add(x, 1, out=x), lambda: np.add.at(x, [0], 1.0), lambda: np.sin(np.ones(3), out=(x,))):
        with pytest.raises(TypeError, match="cannot write into an Array: arrays are immutable"):
            write()
    assert x.tolist() == [0, 1, 2]


def test_traced_operators_keep_the_derivative():
    a = np.array([1.0, 2.0, 3.0], F32)
    f = lambda x: np.multiply(a, x).sum() + np.sum(x * x) + (a @ x) + np.mean(np.subtract(x, a))
    x = gnp.array([0.5, 0.0, -0.5])
    np.testing.assert_allclose(graphad.grad(f)(x), 2 * a + 2 * np.asarray(x) + 1 / 3, rtol=1e-6)


REFUSED = {
    "Write graphad.numpy.sin(x)": lambda x: np.sin(x),
    "Write graphad.numpy.concatenate(...)": lambda x: np.concatenate([np.ones(1), x]),
    "Write graphad.numpy.linalg.norm(...)": lambda x: np.linalg.norm(x),
    "which has no unique itself": lambda x: np.unique(x),
    "Write a = a + x for a += x": lambda x: op.iadd(np.zeros(3), x),
    "np.add needs": lambda x: np.add.reduce(x),
    "np.negative needs": lambda x: np.negative(x),
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("transform", [graphad.grad, graphad.jit])
def test_traced_values_name_the_twin(message, transform):
    with pytest.raises(ConcretizationError) as raised:
        transform(REFUSED[message])(gnp.arange(3.0))
    said = str(raised.value)
    assert said.startswith("test_interop.py:")
    assert message in said


def test_branches_inside_numpy_keep_their_own_error():
    """A value batched by `vmap` has no value to branch on, inside a function of NumPy as elsewhere."""
    with pytest.raises(graphad.errors.TracerBoolError):
        graphad.vmap(lambda x: np.array_split(x, x[0] > 0))(gnp.ones((2, 3)))


# ---------------------------------------------------------------------------------------------------------------------
# DLPack


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5)])
def test_dlpack_round_trip_shares_memory(dtype, shape):
    x = gnp.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype))
    view = np.from_dlpack(x)
    assert not view.flags.writeable
    again = gnp.from_dlpack(x)
    assert again.dtype == x.dtype
    np.testing.assert_array_equal(again, x)
    if x.size:
        assert np.shares_memory(view, np.asarray(x))
        assert np.shares_memory(np.asarray(again), np.asarray(x))


def test_old_consumers_get_a_copy():
    x = gnp.arange(3.0)

    class Old:
        """Hands over what a consumer from before DLPack 1.0 would get."""

        __dlpack_device__ = x.__dlpack_device__

        def __dlpack__(self, **_options):
            return x.__dlpack__()

    taken = np.from_dlpack(Old())
    np.testing.assert_array_equal(taken, x)
    assert not np.shares_memory(taken, np.asarray(x))
    with pytest.raises(BufferError, match=r"before 1\.0 cannot say that the memory is read-only"):
        x.__dlpack__(copy=False)


def test_from_dlpack_copies_what_can_change():
    source = np.arange(3.0)
    copied, shared = gnp.from_dlpack(source), gnp.from_dlpack(source, copy=False)
    source[0] = 7
    assert (copied[0], shared[0]) == (0, 7)
    assert not np.shares_memory(np.asarray(gnp.from_dlpack(shared, copy=True)), source)
    np.testing.assert_array_equal(gnp.from_dlpack(np.arange(6.0)[::-2]), [5, 3, 1])
    with pytest.raises(ValueError, match="has gaps or another order"):
        gnp.from_dlpack(np.arange(6.0)[::2], copy=False)


def test_dlpack_with_jax():
    x = gnp.arange(3.0)
    np.testing.assert_array_equal(jax.dlpack.from_dlpack(x), x)
    np.testing.assert_array_equal(gnp.from_dlpack(jax.numpy.arange(3)), [0, 1, 2])


@pytest.mark.parametrize("shape", [(), (0, 2), (3,), (2, 5)])
def test_dlpack_of_bfloat16_which_numpy_does_not_know(shape):
    x = gnp.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape).astype("float32")).astype("bfloat16")
    again, copied = gnp.from_dlpack(x), gnp.from_dlpack(x, copy=True)
    assert again.dtype == copied.dtype == x.dtype
    np.testing.assert_array_equal(again, x)
    np.testing.assert_array_equal(copied, x)
    if x.size:
        assert np.shares_memory(np.asarray(again), np.asarray(x))
        assert not np.shares_memory(np.asarray(copied), np.asarray(x))
    theirs = jax.dlpack.from_dlpack(x)
    assert theirs.dtype == "bfloat16"
    np.testing.assert_array_equal(gnp.from_dlpack(theirs * 2), np.asarray(x) * 2)


def test_dlpack_refusals():
    x = gnp.ones(2)
    with pytest.raises(BufferError, match="cannot say that the memory is read-only"):
        gnp.ones(2, "bfloat16").__dlpack__(copy=False)
    with pytest.raises(BufferError, match="no streams"):
        x.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="on the CPU"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(TypeError, match="a list has no __dlpack__"):
        gnp.from_dlpack([1.0])
    with pytest.raises(TypeError, match="complex128"):
        gnp.from_dlpack(np.ones(2, complex))
    with pytest.raises(ValueError, match="there is no device 'gpu'"):
        gnp.from_dlpack(x, device="gpu")
    with pytest.raises(ConcretizationError, match="dlpack"):
        graphad.grad(lambda x: gnp.from_dlpack(x).sum())(x)


# ---------------------------------------------------------------------------------------------------------------------
# The array API standard

ARRAY_API = """
abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh bitwise_and
bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor bool bool_ broadcast_arrays broadcast_to
can_cast ceil clip concat copysign cos cosh count_nonzero cumulative_prod cumulative_sum diff divide e empty
empty_like equal exp expand_dims expm1 eye finfo flip float32 float64 floor floor_divide from_dlpack full full_like
greater greater_equal hypot iinfo inf int16 int32 int64 int8 isdtype isfinite isinf isnan less less_equal linspace log
log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul matrix_transpose max maximum mean
meshgrid min minimum moveaxis multiply nan negative newaxis nextafter not_equal ones ones_like permute_dims pi
positive pow prod reciprocal remainder repeat reshape result_type roll round searchsorted sign signbit sin sinh sort
sqrt square squeeze stack std subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc uint16 uint32
uint64 uint8 unstack var vecdot where zeros zeros_like
""".split()  # noqa: SIM905


def test_array_namespace():
    x = gnp.arange(3.0)
    assert x.__array_namespace__() is gnp
    assert x.__array_namespace__(api_version="2023.12") is gnp
    with pytest.raises(ValueError, match=r"there is no array API '1999\.12'"):
        x.__array_namespace__(api_version="1999.12")
    assert graphad.grad(lambda y: y.__array_namespace__().sum(y * y))(x).tolist() == [0, 2, 4]


def test_names_of_the_array_api():
    assert [name for name in ARRAY_API if not hasattr(gnp, name)] == []


# ---------------------------------------------------------------------------------------------------------------------
# Libraries


def test_scipy_takes_arrays(rng):
    a = rng.normal(size=(3, 3)).astype(F32)
    np.testing.assert_allclose(
        scipy.linalg.solve(gnp.asarray(a), gnp.ones(3)), np.linalg.solve(a, np.ones(3)), rtol=1e-3
    )


def test_scikit_learn_takes_arrays(rng):
    x = rng.normal(size=(40, 3)).astype(F32)
    y = (x[:, 0] > 0).astype(np.int32)
    model = LogisticRegression().fit(gnp.asarray(x), gnp.asarray(y))
    np.testing.assert_array_equal(model.predict(gnp.asarray(x)), LogisticRegression().fit(x, y).predict(x))
    np.testing.assert_allclose(StandardScaler().fit_transform(gnp.asarray(x)).mean(axis=0), 0, atol=1e-6)


def test_pandas_takes_arrays():
    pd = pytest.importorskip("pandas")
    x = gnp.arange(3.0)
    frame = pd.DataFrame({"x": x, "y": pd.Series(x) * 2})
    assert frame["x"].tolist() == [0, 1, 2]
    assert (frame["y"] + x).tolist() == [0, 3, 6]
    assert frame["x"].dtype == F32
    np.testing.assert_array_equal(gnp.asarray(frame["y"]), [0, 2, 4])
    np.testing.assert_array_equal(gnp.asarray(frame), [[0, 0], [1, 2], [2, 4]])


def test_matplotlib_takes_arrays():
    mpl.use("agg")
    axes = Figure().subplots()
    x = gnp.linspace(0.0, 1.0, 5)
    (line,) = axes.plot(x, x * x)
    axes.scatter(x, x, c=x)
    axes.hist(x)
    axes.imshow(gnp.ones((3, 3)))
    axes.set_title(f"{x[1]:.2f}")
    axes.figure.canvas.draw()
    np.testing.assert_array_equal(line.get_ydata(), x * x)


MASKED = np.ma.array(np.arange(3, dtype=np.float32), mask=[False, True, False])
PLACES = np.ma.array([0, 1], mask=[False, True])
USES_OF_MASKED = {
    "a function": lambda x: gnp.sum(MASKED), "an operand on the right": lambda x: x + MASKED,
    "array": lambda x: gnp.array(MASKED), "array of a list": lambda x: gnp.array([MASKED, x]),
    "stack": lambda x: gnp.stack([MASKED, MASKED]), "the constant": lambda x: gnp.sin(np.ma.masked),
    "an update": lambda x: x.at[:].set(MASKED), "an index": lambda x: x[PLACES],
    "an updated index": lambda x: x.at[PLACES].set(1.0), "take": lambda x: gnp.take(x, PLACES),
    "a scalar type": lambda x: gnp.float32(MASKED), "from_dlpack": lambda x: gnp.from_dlpack(MASKED),
    "device_put": lambda x: graphad.device_put(MASKED), "lax": lambda x: graphad.lax.add(x, MASKED),
    "an argument of jit": lambda x: graphad.jit(lambda y: y * 2)(MASKED),
    "a container": lambda x: graphad.jit(lambda d: d["a"] * 2)({"a": MASKED}),
    "a closed over array": lambda x: graphad.jit(lambda y: gnp.dot(y, MASKED))(x),
    "an operand while traced": lambda x: graphad.jit(lambda y: y * MASKED)(x),
    "an argument of grad": lambda x: graphad.grad(lambda y: y.sum())(MASKED),
    "an argument of compile_grad": lambda x: graphad.compile_grad(lambda y: y.sum())(MASKED),
    "an argument of vmap": lambda x: graphad.vmap(lambda y: y * 2)(MASKED),
    "a tangent": lambda x: graphad.jvp(lambda y: y * 2, (x,), (MASKED,)),
    "a cotangent": lambda x: graphad.vjp(lambda y: y * 2, x)[1](MASKED),
    "eval_shape": lambda x: graphad.eval_shape(lambda y: y, MASKED),
    "random": lambda x: graphad.random.permutation(graphad.random.key(0), MASKED),
}  # fmt: skip


@pytest.mark.parametrize("use", USES_OF_MASKED)
def test_masked_arrays_are_refused(use):
    with pytest.raises(TypeError, match=r"test_interop\.py:\d+: .*would lose its mask here\. Hand over x\.filled"):
        USES_OF_MASKED[use](gnp.ones(3))


def test_masked_arrays_keep_their_mask_where_numpy_computes():
    assert (MASKED + gnp.ones(3)).mask.tolist() == [False, True, False]
