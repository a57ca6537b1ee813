"""16-bit floats: what is made of several steps is computed in float32 and rounded once, and so are its derivatives."""

from __future__ import annotations

import inspect

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn, optim

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
HALVES = np.array([[-2.0, 0.5, 1.5, 1.5], [3.0, -0.5, 0.0, 2.5], [1.0, 1.0, -1.0, 8.0]])
LARGE = np.array([[300.0, -300.0, 40.5, 7.0], [60.25, 250.0, -180.0, 0.125], [-90.0, 1.0, 200.0, 200.0]])
POSITIVE = np.array([[0.5, 2.5, 1.5, 3.0], [1.0, 0.25, 2.0, 0.75], [7.0, 1.25, 2.25, 3.5]])
SEEN = np.array([True, False, True, True])


def held(x):
    """A further argument with the same values: what x is added up to outside the function is not its own."""
    return lax.stop_gradient(x)


#: Functions that are called with one array alone.
PLAIN = {
    "nn": "celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh identity leaky_relu log_sigmoid mish relu "
    "relu6 selu sigmoid silu soft_sign softplus sparse_plus sparse_sigmoid squareplus swish tanh log_softmax "
    "logmeanexp logsumexp softmax standardize layer_norm rms_norm",
    "numpy": "amax amin average corrcoef cov max mean median min nanmax nanmean nanmedian nanmin nanstd nansum nanvar "
    "ptp std sum var sinc exp2 deg2rad rad2deg degrees radians diff ediff1d trapezoid unwrap cumsum nancumsum",
}
#: Functions of one array, by the name of what is public and what distinguishes its cases.
OF_ONE = {
    **{f"nn.{name}": getattr(nn, name) for name in PLAIN["nn"].split()},
    "nn.gelu exact": lambda x: nn.gelu(x, approximate=False),
    "nn.log1mexp": lambda x: nn.log1mexp(abs(x) + 0.25),
    "nn.batch_norm": lambda x: nn.batch_norm(x)[0],
    "nn.group_norm": lambda x: nn.group_norm(x.reshape(1, 12), 2),
    "nn.dropout": lambda x: nn.dropout(graphad.random.key(0), 0.3, x),
    "nn.avg_pool": lambda x: nn.avg_pool(x, (3,)),
    "nn.max_pool": lambda x: nn.max_pool(x, (2,)),
    "nn.min_pool": lambda x: nn.min_pool(x, (2,)),
    "nn.softmax where": lambda x: nn.softmax(x, where=SEEN),
    "nn.logsumexp axis": lambda x: nn.logsumexp(x, axis=0),
    **{
        f"nn.dot_product_attention {part}": lambda x, k=k: nn.dot_product_attention(
            *[(x if i == k else held(x))[:, None] for i in range(3)]
        )
        for k, part in enumerate(("query", "key", "value"))
    },
    **{f"numpy.{name}": getattr(gnp, name) for name in PLAIN["numpy"].split()},
    **{f"numpy.{name}": lambda x, f=getattr(gnp, name): f(abs(x) + 0.25) for name in ("log2", "log10")},
    "numpy.average weights": lambda x: gnp.average(x, 1, abs(held(x))),
    "numpy.average of weights": lambda x: gnp.average(held(x), 1, abs(x)),
    "numpy.gradient": lambda x: gnp.gradient(x, axis=1),
    "numpy.gradient spacing": lambda x: gnp.gradient(x, 0.3)[0],
    "numpy.cov weights": lambda x: gnp.cov(x, aweights=POSITIVE[0]),
    "numpy.quantile": lambda x: gnp.quantile(x, 0.3, 1),
    "numpy.percentile": lambda x: gnp.percentile(x, 85.0),
    "numpy.nanquantile": lambda x: gnp.nanquantile(x, 0.3, 1),
    "numpy.nanpercentile": lambda x: gnp.nanpercentile(x, 85.0),
    "numpy.sum initial": lambda x: gnp.sum(x, 1, initial=1.25),
    "numpy.prod": lambda x: gnp.prod(x / 64, 1),
    "numpy.nanprod": lambda x: gnp.nanprod(x / 64, 1),
    "numpy.prod initial": lambda x: gnp.prod(x / 64, 1, initial=5.25),
    "numpy.cumprod": lambda x: gnp.cumprod(x / 64, 1),
    "numpy.nancumprod": lambda x: gnp.nancumprod(x / 64, 1),
    "numpy.cumulative_sum": lambda x: gnp.cumulative_sum(x, axis=1),
    "numpy.cumulative_prod": lambda x: gnp.cumulative_prod(x / 64, axis=1),
    "numpy.logaddexp": lambda x: gnp.logaddexp(x, held(x)[::-1]),
    "numpy.logaddexp2": lambda x: gnp.logaddexp2(x, held(x)[::-1]),
    "numpy.hypot": lambda x: gnp.hypot(x, held(x)[::-1]),
    "numpy.round": lambda x: gnp.round(x, 2),
    "numpy.around": lambda x: gnp.around(x, 2),
    "numpy.diff twice": lambda x: gnp.diff(x, 2),
    "numpy.trace": gnp.trace,
    "numpy.cross": lambda x: gnp.cross(x[:, :3], held(x)[::-1, :3]),
    "numpy.interp": lambda x: gnp.interp(x, *[np.array(v, x.dtype) for v in ([-3.0, 0.5, 250.0], [1.0, -1.25, 7.0])]),
    "numpy.polyval": lambda x: gnp.polyval(x[0] / 64, held(x)[1:] / 8),
    "numpy.polyint": lambda x: gnp.polyint(x[0], 2),
    "numpy.polydiv": lambda x: gnp.polydiv(x[0], abs(held(x)[1, :2]) + 2)[0],
    "numpy.poly": lambda x: gnp.poly(x[0] / 16),
    "numpy.vander": lambda x: gnp.vander(x[0] / 8),
    "numpy.einsum": lambda x: gnp.einsum("ij,kj,kl->il", x, held(x) / 8, held(x)),
    "numpy.histogramdd": lambda x: gnp.histogramdd(
        x, [np.array([-400.0, 0.0, 300.0], x.dtype)] * 4, weights=x[:, 0], density=True
    )[0],
    "numpy.histogram": lambda x: gnp.histogram(x, np.array([-400.0, 0.5, 300.0], x.dtype), density=True)[0],
    "numpy.histogram2d": lambda x: gnp.histogram2d(
        x[0], x[1], [np.array([-400.0, 0.5, 300.0], x.dtype)] * 2, weights=x[2], density=True
    )[0],
    "numpy.nancumsum nan": lambda x: gnp.nancumsum(gnp.where(x == 1.5, np.nan, x)),
    "linalg.norm": gnp.linalg.norm,
    "linalg.norm 3": lambda x: gnp.linalg.norm(x, 3, axis=1),
    "linalg.norm fro": lambda x: gnp.linalg.norm(x, "fro"),
    "linalg.norm inf": lambda x: gnp.linalg.norm(x, np.inf),
    "lax.cummax": lambda x: lax.cummax(x, 1),
    "lax.cummin": lambda x: lax.cummin(x, 1),
    "lax.cumprod": lambda x: lax.cumprod(x / 64, 1),
    "lax.cumlogsumexp": lambda x: lax.cumlogsumexp(x, 1),
    "at add": lambda x: gnp.zeros(2, x.dtype).at[np.array([0, 1, 0, 0])].add(x[0]),
    "at multiply": lambda x: gnp.ones(2, x.dtype).at[np.array([0, 1, 0, 0])].multiply(x[0] / 8),
    "read again": lambda x: x[0, np.array([0, 1, 0, 0, 0, 3])],
}
#: Of whole arrays of 70,000 elements: beyond 2048 float16 cannot count, beyond 65504 it is infinite.
MANY = {
    "nn": "logmeanexp logsumexp softmax log_softmax standardize layer_norm rms_norm",
    "numpy": "average max min mean sum std var nanmean nanmax median",
    "linalg": "norm",
}
#: Functions of the places that are swept that compute nothing with floats, make them out of none, or are one primitive.
WITHOUT_STEPS = {
    "nn": "initializers one_hot",
    "numpy": "all any argmax argmin count_nonzero nanargmax nanargmin bincount histogram_bin_edges exp expm1 log log1p "
    "sqrt cbrt sin cos tan arcsin arccos arctan arctan2 asin acos atan atan2 sinh cosh tanh arcsinh arccosh arctanh "
    "asinh acosh atanh",
}
SWEPT = ("_reduce", "_statistics", "_signal.differences", "_elementwise.exponential", "_elementwise.trigonometric")


def named(table):
    return {f"{place}.{name}" for place, names in table.items() for name in names.split()}


def test_none_is_left_out():
    covered = {name.split(" ")[0] for name in OF_ONE}
    public = {f"nn.{name}" for name in vars(nn) if not name.startswith("_") and name != "annotations"}
    for name, function in vars(gnp).items():
        if inspect.isfunction(function) and function.__module__.removeprefix("graphad.numpy.").startswith(SWEPT):
            public.add(f"numpy.{name}")
    assert public - covered == named(WITHOUT_STEPS)


def check_rounded_once(got, wide, dtype, ulps=1.0):
    """Within so many units in the last place of the float64 result, and infinite where that is too large."""
    got, wide = np.asarray(got), np.asarray(wide)
    assert (got.dtype, got.shape) == (dtype, wide.shape)
    with np.errstate(all="ignore"):
        expected = wide.astype(dtype)
        unit = np.maximum(
            np.abs(np.spacing(expected)).astype(np.float64), float(ml_dtypes.finfo(dtype).smallest_subnormal)
        )
        apart = np.abs(got.astype(np.float64) - wide)
    finite = np.isfinite(expected.astype(np.float64))
    np.testing.assert_array_equal(got[~finite].astype(np.float64), expected[~finite].astype(np.float64))
    # float32 itself loses a little where terms cancel.
    assert (apart[finite] <= ulps * unit[finite] + 2e-6 * np.max(np.abs(wide[finite]), initial=0)).all(), (got, wide)


def value_and_gradient(function, x, wrap=lambda f: f):
    def both(x):
        y, pull = graphad.vjp(function, x)
        weights = np.resize([1.0, -0.5, 2.0, 0.25, 1.5], y.shape).astype(y.dtype)
        return y, pull(gnp.asarray(weights))[0]

    return wrap(both)(x)


def check(name, x, dtype, wrap=lambda f: f):
    narrow = x.astype(dtype)
    with np.errstate(all="ignore"):
        got = value_and_gradient(OF_ONE[name], narrow, wrap)
        want = value_and_gradient(OF_ONE[name], narrow.astype(np.float64))
    for a, b in zip(got, want, strict=True):
        check_rounded_once(a, b, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_ONE)
def test_values_and_gradients(name, dtype):
    for x in (HALVES, LARGE, POSITIVE):
        check(name, x, DTYPES[dtype])


@pytest.mark.parametrize("name", sorted(named(MANY)))
def test_many(name):
    for dtype in DTYPES.values():
        check(name, np.full(70_000, 1.0) if "norm" not in name else np.resize([1.0, 2.0], 70_000), dtype)


@pytest.mark.parametrize(
    "name", ["nn.softmax where", "nn.layer_norm", "nn.dot_product_attention key", "nn.gelu", "numpy.std"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled(name, dtype):
    check(name, LARGE, DTYPES[dtype], graphad.jit)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ONE)
def test_all_compiled(name):
    for dtype in DTYPES.values():
        for x in (HALVES, LARGE):
            check(name, x, dtype, graphad.jit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_are_counted_beyond_what_a_float_of_16_bits_holds(dtype):
    x = np.ones(70_000, DTYPES[dtype])
    index = np.zeros(70_000, np.int32)
    functions = (
        gnp.max,
        lambda x: gnp.min(x.reshape(2, -1), 1)[1] + x[0] * 0,
        lambda x: lax.cummax(x, 0)[-1],
        lambda x: gnp.zeros(1, x.dtype).at[index].max(x)[0],
    )
    for f, share in zip(functions, (70_000, 35_000, 70_000, 70_000), strict=True):
        expected = np.asarray(1 / share).astype(DTYPES[dtype])
        assert graphad.grad(f)(x)[-1] == graphad.jit(graphad.grad(f))(x)[-1] == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_cotangents_of_an_element_read_again_and_again(dtype):
    x, index = np.ones(3, DTYPES[dtype]), np.zeros(9000, np.int32)
    for f in (lambda x: gnp.sum(x[index] / 4), lambda x: gnp.sum(gnp.take(x, index) / 4)):
        assert graphad.grad(f)(x)[0] == graphad.jit(graphad.grad(f))(x)[0] == np.asarray(2250).astype(x.dtype)


def test_a_convolution_with_a_wide_result_is_not_rounded_before():
    x, w = np.full((1, 4, 8), 200, np.float16), np.full((1, 4, 8), 200, np.float16)
    result = lax.conv_general_dilated(x, w, (1,), "VALID", preferred_element_type=np.float32)
    np.testing.assert_array_equal(result, np.float32([[[32 * 200 * 200]]]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_of_updates(dtype):
    updates = {"a": np.full(100, 300, DTYPES[dtype]), "b": np.full((2, 50), 300, DTYPES[dtype])}
    norm = optim.global_norm(updates)
    assert (norm.dtype, float(norm)) == (DTYPES[dtype], np.asarray(300 * np.sqrt(200)).astype(DTYPES[dtype]))
    clipped, _ = optim.clip_by_global_norm(1.0).update(updates, ())
    check_rounded_once(clipped["a"], np.full(100, 200**-0.5), DTYPES[dtype])
    clipped, _ = optim.clip_by_block_rms(1.0).update(updates, ())
    check_rounded_once(clipped["b"], np.ones((2, 50)), DTYPES[dtype])
