"""Edges and ties: `graphad.numpy` against NumPy on small grids of integers and halves, eagerly and traced.

Random reals never meet the edge of a bin, two equal elements, a tie between two neighbours or a division by 0.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.config import config
from graphad.ir.evaluate import evaluate
from graphad.trace.bind import trace_function
from graphad.trace.pytree import flatten, unflatten
from tests.faces.oracle import run

VECTORS = {
    "halves": np.array([-1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2.5]), "ties": np.array([1.0, 0, 1, -1, 0.5, 0.5, 0, 1]),
    "one": np.array([0.5]), "same": np.array([2.0, 2, 2]), "zeros": np.array([0.0, -0.0, 0.0, -0.0]),
    "nan": np.array([1, np.nan, 0, np.nan, 1]), "ints": np.arange(-3, 4), "uint8": np.array([250, 3, 3, 0, 255], "u1"),
    "int8": np.array([-128, 127, 0, -1, 100, 100], "i1"), "bools": np.array([True, False, True, True]),
    "floats": np.array([-0.5, 0.5, 1.5, 2.5, 0.5], np.float32),
}  # fmt: skip
MATRICES = {
    "square": np.array([[0.5, 1, -0.5], [1, 1, 0], [0.5, -1, 0]]), "row": np.array([[1.0, 0.5, 1]]),
    "column": np.array([[1.0], [0.5], [1.0]]), "integers": np.arange(-3, 3).reshape(2, 3),
    "single": np.array([[1.5]]), "bytes": np.array([[200, 100], [7, 250]], np.uint8),
    "masks": np.array([[True, False], [False, False], [True, True]]), "cube": np.arange(12).reshape(2, 3, 2) / 2,
}  # fmt: skip
EMPTY = {"nothing": np.zeros(0), "no rows": np.zeros((0, 3))}
FULL = VECTORS | MATRICES
ALL = FULL | EMPTY
REAL = {k: v for k, v in FULL.items() if v.dtype.kind == "f"}
WHOLE = {k: v for k, v in FULL.items() if v.dtype.kind in "iu"} | {"divisors": np.array([0, 1, -1, 2, -3, 0])}
FLAT = {k: v for k, v in MATRICES.items() if v.ndim == 2 and v.dtype != bool}
NUMBERS = {k: v for k, v in ALL.items() if k != "nan"}


def words(text):
    return text.split()


def each(template, *options):
    return [template.format(option) for option in options]


METHODS = words("""linear lower higher midpoint nearest inverted_cdf averaged_inverted_cdf closest_observation
    interpolated_inverted_cdf hazen weibull median_unbiased normal_unbiased""")
BINS = ("[-1, 0, 1]", "[1, 0, -1]", "[0, .5, .5, 1]", "[1, .5, .5, 0]", "[0]", "[1, 1, 1]")
KNOTS = "np.asarray([-1., 0, .5, 2]), np.asarray([3., 1, 4, 1])", "np.asarray([0., 0, 1, 1]), np.asarray([3., 1, 4, 1])"
CUTS = ("1", "2", "3", "[1]", "[0, 2]", "[2, 1]", "[-1]", "[1, 9]", "(1, 2)", "np.asarray([1, 2])", "[]")
TRUTHS = words("""x[True] x[False] x[True,0] x[0,True] x[True,...] x[None,True] x[...,True] x[False,...] x[True,True]
    x[True,numpy.array([0,0])] x[False,numpy.array([0])] x[numpy.array(True)] x[numpy.True_] x[True,None,...]
    x[...,None] x[None,numpy.array([0])] x[numpy.array([0]),None] x[-1:] x[5:2] x[()] x[numpy.array([],int)]""")
DEEP_TRUTHS = words("""x[:,True] x[0,...,True] x[True,:,0] x[numpy.array([0,0]),True] x[:,True,numpy.array([0])]
    x[:,False] x[numpy.array([0]),:,True] x[numpy.array([0,0]),True,numpy.array([0,0])] x[True,:,numpy.array([0])]
    x[numpy.array([0]),None,numpy.array([0])]""")
EINSUMS = words("""(x,[0,1]) (x,[1,0]) (x,[0,1],[1,0]) (x,[0,1],x.T,[1,2]) (x,[0,1],x.T,[1,2],[2,0]) (x,[...,0],[0,...])
    (x@x.T,[0,0]) (x@x.T,[0,0],[0]) (x,[0,1],x,[0,1],x,[0,1],[0]) (x,[5,3]) (x,(30,2),(2,30)) (x,[0,1],[])
    ('ij->',x) ('ij,ij->i',x,x)""")


TABLE = {
    "digitize": ([f"np.digitize(x, np.asarray({b}), right={r})" for b in BINS for r in (True, False)], ALL),
    "searchsorted": ([f"np.searchsorted(np.sort(np.asarray({b})), x, side='{s}')" for b in BINS
                      for s in ("left", "right")], ALL),
    "histogram": (each("np.histogram(x, {})", *["1", "3", "4"], "3, (-1, 1)", "2, (0, 0)", "np.asarray([-1., 0, 1])",
                       "np.asarray([0, .5, .5, 1])", "10", "3, density=True", "3, weights=np.ones(x.shape) / 2"),
                  {k: v for k, v in ALL.items() if k != "nan"}),
    "histograms": (["np.histogram2d(x, x, 3)", "np.histogram2d(x, x, [3, 2], density=True)"],
                   {k: v for k, v in VECTORS.items() if k != "nan"}),
    "percentile": ([f"np.percentile(x, np.asarray({q}), method='{m}')" for m in METHODS
                    for q in ("0", "50", "[12.5, 25, 75, 100]")], FULL),
    "quantile": ([f"np.quantile(x, np.asarray([.25, .5]), {a}, method='{m}')" for m in METHODS for a in ("0", "-1")],
                 {k: v for k, v in MATRICES.items() if k != "masks"}),
    "median": (["np.median(x)", "np.median(x, -1)", "np.nanmedian(x)", "np.nanquantile(x, .25, method='nearest')"],
               {k: v for k, v in FULL.items() if v.dtype != bool} | {"inf": np.array([1, np.inf, np.inf])}),
    "cov": ([f"np.cov(x, rowvar={r}, {o})" for r in (True, False) for o in ("", "bias=True", "ddof=2")]
            + ["np.cov(x, x, rowvar=False)", "np.corrcoef(x, rowvar=False)"],
            {k: v for k, v in FULL.items() if v.ndim < 3}),
    "order": (["np.sort(x)", "np.sort(x, 0, 'stable')", "np.argsort(x, kind='stable')", "np.argsort(x, 0, 'stable')",
               "np.argsort(x, None, 'mergesort')", "np.argmax(x)", "np.argmin(x, -1)", "np.lexsort((x, -x))",
               "np.partition(x, 0, None)[0]", "np.partition(x, (0, -1), 0)[0]"], FULL),
    "round": (each("np.round(x, {})", 0, 1, -1, -2), {k: v for k, v in FULL.items() if v.dtype != bool}),
    "round to": (each("np.{}(x)", *["sign", "floor", "ceil", "trunc", "rint"]),
                 {k: v for k, v in FULL.items() if v.dtype != bool}),
    "divide": ([f"np.{f}({p})" for f in ["floor_divide", "remainder", "fmod", "divmod"]
                for p in ("x, x[::-1]", "x, x", "x, 2", "x, -2", "-2, x", "x, 0", "3, x")], REAL | WHOLE),
    "clip": (each("np.clip(x, {})", "0, 1", "1, 0", "None, 1", "np.asarray(.5), np.asarray(1)"), FULL),
    "interp": ([f"np.interp(x, {k}{o})" for k in KNOTS for o in ("", ", -7., 7.", ", period=1.5")], FULL),
    "bincount": (each("np.bincount(x{})", "", ", minlength=6", ", np.ones(x.shape) / 2"),
                 {"uint8": np.array([250, 3, 3, 0, 255], "u1"), "i": np.array([0, 3, 3, 1]), "none": np.zeros(0, int)}),
    "split": ([f"np.array_split(x, {c})" for c in CUTS] + [f"np.array_split(x, {c}, -1)" for c in CUTS], ALL),
    "stack": ([f"np.{f}({x})" for f in ["vstack", "hstack", "dstack", "stack", "concatenate", "column_stack", "concat"]
               for x in ("numpy.asarray(raw)", "x", "[x, x]")], {k: v for k, v in MATRICES.items() if v.ndim == 2}),
    "stack vectors": ([f"np.{f}({x})" for f in ["vstack", "hstack", "dstack", "stack", "column_stack"]
                       for x in ("numpy.asarray(raw)", "x", "[x, x]")], VECTORS),
    "running": ([f"np.cumulative_{f}(x, axis=-1{o})" for f in ("sum", "prod")
                 for o in ("", ", include_initial=True", ", dtype='float32'", ", dtype='uint16'")], WHOLE),
    "running floats": (["np.cumsum(x)", "np.cumprod(x, -1)", "np.nancumsum(x)", "np.cumulative_sum(x, axis=0)"], REAL),
    "truth": (TRUTHS, FULL),
    "truth inside": (DEEP_TRUTHS, MATRICES),
    "einsum": ([f"np.einsum{e}" for e in EINSUMS], FLAT),
    "slopes": ([f"np.gradient(x{o}, edge_order={e})" for e in (1, 2)
                for o in ("", ", .5", ", numpy.arange(x.shape[0]) ** 2")],
               {k: v for k, v in VECTORS.items() if v.size > 2 and v.dtype.kind == "f"} | {"ints": np.arange(4)}),
    "spread": (each("np.linspace({})", "0, x, 4", "x, 1, 3, endpoint=False", "0, 1, 1",
                    "0, 1, 0, retstep=True", "-1, 1, 1, retstep=True"), REAL),
    "moved": (["np.roll(x, (1, 2))", "np.roll(x, 1, (0, 0))", "np.delete(x, [])", "np.insert(x, [], 7)",
               "np.repeat(x.ravel(), [1] * x.size)"], ALL),
}  # fmt: skip


def numbers_of(result):
    return [y for x in result for y in numbers_of(x)] if isinstance(result, (tuple, list)) else [np.asarray(result)]


def by_numpy(expression, x):
    """NumPy's result, or None where it has none: expressions need axes and dtypes that not every input has."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return run(expression, np, {"x": x, "raw": x})
        except (TypeError, ValueError, IndexError, OverflowError):
            return None


def check(expression, x, transform=None):
    expected = by_numpy(expression, x)
    if expected is None:
        return

    def f(y):
        return run(expression, gnp, {"x": y, "raw": x})

    with config.override(default_dtype_bits=64):
        got = f(gnp.asarray(x)) if transform is None else transform(f)(x)
    for g, e in zip(numbers_of(got), numbers_of(expected), strict=True):
        assert g.shape == e.shape
        close = 0 if g.dtype.kind in "iub" else 1e-12 if x.dtype.itemsize == 8 else 2e-6
        np.testing.assert_allclose(g.astype(float), e.astype(float), rtol=close, atol=close)


def by_graph(f):
    """``f`` by way of its graph, evaluated with NumPy."""

    def evaluated(x):
        found = trace_function(f, [gnp.asarray(x)], flatten(x)[1])
        outputs = evaluate(found.graph, [x, *[np.asarray(c) for c in found.captures]])
        return unflatten(found.out_tree, list(outputs))

    return evaluated


@pytest.mark.parametrize("name", TABLE)
def test_like_numpy(name):
    expressions, inputs = TABLE[name]
    for k, expression in enumerate(expressions):  # half of the inputs; the other half is left to the slow tests
        for x in list(inputs.values())[k % 2 :: 2]:
            check(expression, x)


@pytest.mark.parametrize("name", [name for name in TABLE if name != "bincount"])  # traced, it needs a length
def test_traced_like_numpy(name):
    expressions, inputs = TABLE[name]
    for k, expression in enumerate(expressions):
        check(expression, list(inputs.values())[k % len(inputs)], by_graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_all_like_numpy(name):
    expressions, inputs = TABLE[name]
    for k, expression in enumerate(expressions):
        for x in list(inputs.values())[(k + 1) % 2 :: 2]:
            check(expression, x)
        if name != "bincount":
            check(expression, list(inputs.values())[(k + 1) % len(inputs)], graphad.jit)


def test_table_has_what_numpy_computes():
    """Cases that NumPy refuses are left out: no expression may be left out for all its inputs."""
    for expressions, inputs in TABLE.values():
        for expression in expressions:
            assert any(by_numpy(expression, x) is not None for x in inputs.values()), expression


def test_quotients_of_zero_have_the_sign_of_the_ratio():
    points = np.array([-3.0, -1.5, -0.5, -0.0, 0.0, 0.5, 1.0, 2.5, np.inf, -np.inf])
    x, y = map(np.ravel, np.meshgrid(points, points))
    with np.errstate(all="ignore"):
        expected = np.floor_divide(x, y)
    for found in (gnp.floor_divide(x, y), graphad.jit(gnp.floor_divide)(x, y)):
        np.testing.assert_array_equal(found, expected)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(expected)[known])
