"""`graphad.numpy` gives NumPy's values and dtypes: a table of functions times inputs of every kind.

The differences in dtypes that are meant: floats made of integers, as by `sin` and `mean`, have 64 bits if the integers
have, else 32; NumPy makes them float16 to float64 by their range, or always float64. And the functions of `KEEP` keep
the dtype that they are given, where NumPy makes some wider.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphad.numpy as gnp
from graphad.config import config

RNG = np.random.default_rng(11)


def of_dtype(dtype, *shape):
    """Numbers that every dtype can hold and that no two of are equal neighbours."""
    values = RNG.permutation(np.arange(int(np.prod(shape)))).reshape(shape) % 7
    return (values % 2).astype(bool) if dtype == "bool" else values.astype(dtype)


NUMBERS = ("bool", "int8", "uint8", "int32", "int64", "float32", "float64")
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.5, 1e-30, 3.0])
#: One array of each kind of layout and content.
INPUTS = {
    **{dtype: of_dtype(dtype, 3, 4) for dtype in NUMBERS},
    "scalar": np.asarray(1.25), "whole scalar": np.asarray(3), "single": np.full((1, 1), 0.5),
    "empty": np.zeros((0, 3)), "empty rows": np.zeros((2, 0), np.float32), "vector": RNG.normal(size=7),
    "strided": RNG.normal(size=(6, 8))[::2, ::2], "reversed": RNG.normal(size=(3, 4))[::-1, ::-1],
    "transposed": RNG.normal(size=(4, 3)).T, "cube": RNG.normal(size=(2, 3, 4)).astype(np.float32),
    "special": SPECIAL, "special float32": SPECIAL.astype(np.float32),
    "broadcast": np.broadcast_to(np.float32(2.5), (2, 3)),
    "big endian": np.arange(5.0).astype(">f8"),
}  # fmt: skip
VECTORS = {name: x for name, x in INPUTS.items() if x.ndim == 1} | {
    **{f"{dtype} vector": of_dtype(dtype, 5) for dtype in NUMBERS},
    "backwards": np.arange(6.0)[::-1], "every other": np.arange(9, dtype=np.int32)[::2], "one": np.ones(1),
}  # fmt: skip
MATRICES = {name: x for name, x in INPUTS.items() if x.ndim == 2}
FULL = {name: x for name, x in INPUTS.items() if x.size}
FINITE = {name: x for name, x in INPUTS.items() if not name.startswith("special")}
NUMERIC = {name: x for name, x in INPUTS.items() if x.dtype != bool}
REAL = {name: x for name, x in INPUTS.items() if x.dtype.kind == "f"}
WHOLE = {name: x for name, x in INPUTS.items() if x.dtype.kind in "iub"}


#: Functions that keep the dtype, but for booleans.
KEEP = ("cumsum", "cumprod", "vander", "polyval", "cov", "interp", "float_power")


def words(text, template="np.{}(x)"):
    return [template.format(name) for name in text.split()]


#: Expressions in x, y (x reversed and shifted) and the inputs that they are for.
TABLE = {
    "maps": (words("negative positive square absolute fabs sign floor ceil trunc rint"), NUMERIC),
    "real maps": (
        words("""exp exp2 expm1 log log1p log2 log10 sqrt cbrt sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh
        arccosh arctanh deg2rad rad2deg degrees radians sinc"""),
        INPUTS,
    ),
    "inverses": (["np.reciprocal(x)", "np.float_power(x, 2)"], REAL),
    "tests": (words("isnan isinf isfinite signbit logical_not isposinf isneginf iscomplex isreal"), REAL),
    "cleaning": (["np.nan_to_num(x)", "np.clip(x, 1, 2)", "np.round(x)", "np.modf(x)"], NUMERIC),
    "pairs": (
        words("""add multiply maximum minimum fmax fmin equal not_equal less less_equal greater greater_equal
        logical_and logical_or logical_xor""", "np.{}(x, y)"),
        INPUTS,
    ),
    "quotients": (words("subtract divide hypot arctan2 copysign logaddexp floor_divide", "np.{}(x, y)"), REAL),
    "bits": ([*words("bitwise_and bitwise_or bitwise_xor", "np.{}(x, y)"), "np.invert(x)"], WHOLE),
    "totals": (words("sum prod all any count_nonzero cumsum cumprod"), INPUTS),
    "totals by axis": (words("sum prod all any cumsum", "np.{}(x, axis=-1)"), MATRICES),
    "means": ([*words("mean var std median ptp"), "np.quantile(x, 0.3)", "np.average(x)"], {
        name: x for name, x in FULL.items() if x.dtype != bool and not name.startswith("special")}),
    "extrema": (words("max min argmax argmin nanmax nanmin nanargmax nanargmin"), {
        name: x for name, x in FULL.items() if not (name == "special" or x.ndim == 0)}),
    "without nan": (words("nansum nanprod nancumsum nanmean nanvar nanstd nanmedian"), {
        name: x for name, x in REAL.items() if x.size and "special" not in name} | {
        "holes": np.array([[1.0, np.nan, 3.0], [np.nan, 5.0, 2.0]])}),
    "order": (["np.sort(x)", "np.argsort(x, stable=True)", "np.sort(x, axis=0)", "np.flip(x)"], {
        name: x for name, x in INPUTS.items() if x.ndim}),
    "shapes": ([*words("ravel transpose squeeze atleast_1d atleast_2d atleast_3d copy shape ndim size ones_like"),
        "np.expand_dims(x, 0)", "np.reshape(x, -1)" , "np.broadcast_to(x, (2, *x.shape))", "np.repeat(x, 2)",
        "np.tile(x, 2)", "np.roll(x, 2)", "np.append(x, x)", "np.resize(x, (2, 3))", "np.full_like(x, 1)"], {
        name: x for name, x in INPUTS.items() if x.size}),
    "matrices": ([*words("fliplr flipud rot90 tril triu diagonal trace diagflat"),
        "np.diag(x)", "np.swapaxes(x, 0, 1)", "np.concatenate([x, x], 1)", "np.stack([x, x], -1)", "np.vstack([x, x])",
        "np.hstack([x, x])", "np.dstack([x, x])", "np.column_stack([x, x])", "np.block([[x, x]])",
        "np.pad(x, 1)", "np.array_split(x, 2)"], MATRICES),
    "padding": ([
        *words("constant edge linear_ramp maximum mean median minimum reflect symmetric wrap",
            "np.pad(x, ((2, 1), (0, 3)), '{}')[2:]"), "np.pad(x, 2, 'mean', stat_length=2)",
        "np.pad(x, (2, 6), 'median', stat_length=(3, 1))", "np.pad(x, 1, 'maximum', stat_length=((1, 9), (2, 2)))",
        "np.pad(x, 7, 'reflect')", "np.pad(x, (3, 9), 'reflect', reflect_type='odd')",
        "np.pad(x, (9, 2), 'symmetric', reflect_type='odd')", "np.pad(x, (4, 5), 'linear_ramp', end_values=(1, 20))",
        "np.pad(x, {1: (3, 0)}, 'constant', constant_values=(5, 7))", "np.pad(x, {-1: 2}, 'wrap')"], {
        name: x for name, x in MATRICES.items() if x.size}),
    "rows": (["np.delete(x, 0, axis=0)", "np.insert(x, 1, 1, axis=0)", "np.apply_along_axis(np.sum, 0, x)", "x[0]",
        "np.split(x, [1])", "np.rollaxis(x, 1)", "np.hsplit(x, [1])", "np.vsplit(x, [1])"], {
        name: x for name, x in MATRICES.items() if x.size}),
    "products": (["np.dot(x, x.T)", "np.matmul(x, x.T)", "np.inner(x, x)", "np.outer(x, x)", "np.vdot(x, x)",
        "np.tensordot(x, x)", "np.einsum('ij,kj->ik', x, x)", "np.kron(x, x)", "np.cov(x)", "np.vecdot(x, x)"], {
        name: x for name, x in MATRICES.items() if x.dtype != bool and x.size}),
    "vectors": (["np.diff(x)", "np.ediff1d(x)", "np.convolve(x, x[:2])", "np.correlate(x, x[:2])", "np.vander(x, 3)",
        "np.polyval(x, 2)", "np.polyadd(x, x[1:])", "np.trapezoid(x)", "np.searchsorted(np.sort(x), x[:3])",
        "np.digitize(x, np.arange(3))", "np.isin(x, x[:1])",
        "np.meshgrid(x, x)"], {
        name: x for name, x in VECTORS.items() if not name.startswith("special") and x.dtype != bool}),
    "interpolation": (["np.interp(0.5, np.arange(len(x)) * 1.0, x)", "np.gradient(x)"], {
        name: x for name, x in VECTORS.items() if x.dtype.kind == "f" and len(x) > 1 and "special" not in name}),
    "indices": (["x[1]", "x[-1]", "x[::-1]", "x[1:, ::2]", "x[..., None]", "x[np.array([0, -1])]",
        "x[x > 1]", "x[:, np.array([0, 0])]", "x[np.array([[0], [1]]), np.array([1, 2])]",
        "np.take(x, np.array([1, 0]), 0)",
        "np.take_along_axis(x, np.argsort(x, 1), 1)", "np.nonzero(x)", "np.flatnonzero(x)", "np.argwhere(x)",
        "np.extract(x > 1, x)", "np.compress(np.array([True, False]), x, axis=0)", "np.where(x > 1, x, 0)",
        "np.select([x > 2, x > 1], [x, x], 0)", "np.unravel_index(np.argmax(x), x.shape)"], {
        name: x for name, x in MATRICES.items() if x.shape[0] > 1 and x.shape[1] > 2}),
}  # fmt: skip
CASES = [(f"{theme}: {text}", text, inputs) for theme, (texts, inputs) in TABLE.items() for text in texts]


def value(text, module, x):
    y = x[::-1] if x.ndim else x
    return eval(text, {"np": module, "x": x, "y": y})


def leaves(x):
    return [y for part in x for y in leaves(part)] if isinstance(x, (tuple, list)) else [x]


def check(text, x):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # NumPy's: of nan, of empty means
        expected = value(text, np, x)
    got = value(text, gnp, gnp.asarray(x))
    assert len(leaves(got)) == len(leaves(expected))
    for mine, theirs in zip(leaves(got), leaves(expected), strict=True):
        a, b = np.asarray(mine), np.asarray(theirs)
        assert a.shape == b.shape
        alike = x.dtype.kind == b.dtype.kind or {x.dtype.kind, b.dtype.kind} == {"i", "u"}
        keeps = alike and any([name in text for name in KEEP])
        assert a.dtype == (x.dtype.newbyteorder("=") if keeps else promoted(b.dtype, x.dtype))
        rtol = {2: 1e-2, 4: 3e-6, 8: 1e-12}.get(a.itemsize, 0) if a.dtype.kind == "f" else 0
        rtol = max(rtol, 2e-3 if b.dtype == np.float16 else 2e-6 if b.dtype == np.float32 else 0)
        np.testing.assert_allclose(a, b.astype(a.dtype), rtol=rtol, atol=rtol)


def promoted(numpys, given):
    """NumPy's dtype; but floats made of integers, and of booleans, have 64 bits if these have, else 32."""
    if given.kind in "iub" and numpys.kind == "f":
        return np.dtype(np.float64 if given.itemsize == 8 else np.float32)
    return numpys.newbyteorder("=")


def test_there_are_many():
    assert sum([len(inputs) for _, _, inputs in CASES]) >= 1500


@pytest.mark.parametrize(("text", "inputs"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_like_numpy(text, inputs):
    wrong = {}
    with config.override(default_dtype_bits=64):
        for name, x in inputs.items():
            try:
                check(text, x)
            except Exception as error:  # noqa: BLE001  (all of them are shown together)
                wrong[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    assert not wrong, "\n".join([f"{name}: {text}" for name, text in wrong.items()])
