"""Calls with a number beside an array of float64 or int64, for each function and each of its arguments that takes one.

``F G M I J B K Z`` are arrays: see `ARRAYS`. Of `graphad.numpy` the same text is NumPy's, unless there are two.
"""

from __future__ import annotations

from typing import Final

import numpy as np

ARRAYS: Final = {
    "F": np.array([0.1, 0.7, -1.3, 2.9]),
    "G": np.array([0.1, 0.3, 0.7, 2.9]),  # positive, and rising
    "M": np.array([[0.1, 0.7, -1.3], [2.9, 0.3, 1.1]]),
    "I": np.array([2**40 + 1, 3, -7, 2**33]),
    "J": np.array([3, 2**40 + 1, 2**53 + 1, 2**60 + 1]),  # positive, and rising
    "N": np.array([0.1, np.nan, np.inf, -np.inf]),
    "Z": np.zeros(4),
    "B": np.array([True, False, True, False]),
    "K": np.array([3, 0, 1, 0]),
}

_FLOATS: Final = (
    "add subtract multiply divide true_divide floor_divide remainder mod fmod maximum minimum fmax fmin copysign "
    "nextafter equal not_equal less less_equal greater greater_equal isclose allclose array_equal "
    "logical_and logical_or logical_xor"
)
_ROUNDED: Final = "hypot arctan2 logaddexp logaddexp2"  # within the ulp that these functions have
_POSITIVE: Final = "power pow float_power"
_INTEGERS: Final = (
    "add subtract multiply floor_divide remainder mod fmod maximum minimum equal not_equal less less_equal greater "
    "greater_equal bitwise_and bitwise_or bitwise_xor gcd"
)

#: Of `graphad.numpy`, to the bit for integers and to 1 ulp for floats.
NUMPY: Final = [
    *[text for f in _FLOATS.split() for text in (f"{f}(F, 0.1)", f"{f}(0.1, F)")],
    *[text for f in _INTEGERS.split() for text in (f"{f}(I, 2**40 + 1)", f"{f}(2**40 + 1, I)")],
    "logical_and(F, 1e-60)", "logical_or(Z, 1e-60)", "logical_xor(Z, 1e-60)", "any(1e-60)", "all(1e-60)",
    "isclose(F, 0.7, rtol=0.1, atol=0.1)", "isclose(G, 0.4, 0.0, 0.1)", "isclose(G, 0.4, 1 / 3, 0.0)",
    "allclose(F, 0.1, rtol=0.0, atol=3.0)", "allclose(F, 0.1, 0.1, 0.0)",
    "array_equal(F[0], 0.1)", "array_equal(0.1, F[0])", "array_equiv(0.1, F[:1])", "array_equiv(F[:1], 0.1)",
    "divmod(F, 0.1)", "divmod(0.1, F)", "divmod(I, 2**33 + 1)", "divmod(2**40, I)",
    "heaviside(Z, 0.1)", "heaviside(0.1, F)", "ldexp(F, 3)", "ldexp(0.7, I[1:3]).astype('float32')",
    "lcm(I[1:], 6)", "lcm(6, I[1:])", "left_shift(K, 35)", "left_shift(1, K)", "bitwise_left_shift(K, 35)",
    "bitwise_left_shift(1, K)", "right_shift(J, 35)", "right_shift(2**40, K)", "bitwise_right_shift(J, 35)",
    "bitwise_right_shift(2**40, K)",
    "clip(F, 0.1, 0.3)", "clip(0.3, F, F + 0.1)", "clip(I, -3, 2**35 + 1)", "clip(F, 0.3, None)", "clip(F, None, 0.3)",
    "where(B, F, 0.1)", "where(B, 0.1, F)", "where(0.1, F, 0.3)", "where(B, I, 2**41 + 1)",
    "select([B, ~B], [F, 0.1], 0.3)", "select([B], [0.1], F)", "select([B], [F], 0.1)", "select([B], [I], 2**41 + 1)",
    "piecewise(F, [F > 0.1], [0.1, 0.3])", "piecewise(F, [B], [lambda v: v * 0.1, 0.3])",
    "choose(K, [F, 0.1, 0.3, 0.7])", "append(F, 0.1)", "append(0.1, F)", "append(I, 2**41 + 1)",
    "concatenate([F, atleast_1d(F[0] * 0.1)])", "stack([F[0], 0.1])", "hstack([F, 0.1])",
    "hstack([I, 2**41 + 1])", "column_stack([F[:1], 0.1])", "dstack([F[0], 0.1])", "vstack([F[:1], 0.1])",
    "block([F, 0.1])", "block([[F[:1], F[:1]], [0.1, 0.3]])", "r_[F, 0.1]", "r_[0.1, F]", "c_[F[:1], 0.1]",
    "insert(F, 1, 0.1)", "insert(I, 1, 2**41 + 1)", "diff(F, prepend=0.1, append=0.3)", "diff(I, prepend=2**40)",
    "ediff1d(F, 0.1, 0.3)", "ediff1d(I, to_begin=2**41 + 1)", "gradient(F, 0.1)", "gradient(M, 0.1, 0.3)",
    "trapezoid(F, dx=0.1)", "trapezoid(F, G, 0.1)", "unwrap(F, 0.3, period=0.7)", "unwrap(F, period=0.1)",
    "unwrap(I, period=7)",
    "dot(F, 0.1)", "dot(0.1, F)", "inner(F, 0.1)", "inner(0.1, F)", "outer(F, 0.1)", "outer(0.1, F)",
    "kron(F, 0.1)", "kron(0.1, F)", "vdot(F[:1], 0.1)", "vdot(0.1, F[:1])", "tensordot(F, 0.1, 0)",
    "tensordot(0.1, F, 0)", "dot(I, 3)", "outer(I, 3)",
    "searchsorted(G, 0.1)", "searchsorted(G, 0.7, side='right')", "searchsorted(J, 2**53 + 1)", "digitize(0.7, G)",
    "digitize(2**53 + 1, J)", "isin(F, 0.1)", "isin(0.1, F)", "isin(J, 2**53 + 1)", "isin(2**53 + 1, J)",
    "interp(0.4, G, F)", "interp(F, G, F, left=0.1, right=0.3)",
    "nan_to_num(N, nan=0.1, posinf=0.3, neginf=0.7)",
    "polyval(F, 0.1)", "polyadd(F, 0.1)", "polyadd(0.1, F)", "polysub(F, 0.1)", "polysub(0.1, F)", "polymul(F, 0.1)",
    "polymul(0.1, F)", "polydiv(F, 0.1)[0]", "polyint(F, k=0.1)", "convolve(F, G[:1] * 0.1)",
    "pad(F, 2, constant_values=0.1)", "pad(F, 2, constant_values=(0.1, 0.3))", "pad(I, 1, constant_values=2**41 + 1)",
    "pad(F, 2, mode='linear_ramp', end_values=0.1)", "pad(F, 2, mode='linear_ramp', end_values=(0.1, 0.3))",
    "pad(J[:3], 1, mode='mean')", "pad(J[:3] - 1, 1, mode='median')",
    "sum(F, initial=0.1)", "max(F, initial=9.1)", "min(F, initial=-9.1)",
    "amax(F, initial=9.1)", "amin(F, initial=-9.1)", "nansum(N[:2], initial=0.1)", "nanprod(N[:2], initial=0.1)",
    "nanmax(N[:2], initial=9.1)", "nanmin(N[:2], initial=-9.1)", "sum(I, initial=2**41 + 1)",
    "max(I, initial=2**41 + 1)",
    "quantile(F, 0.3)", "percentile(F, 33.3)", "nanquantile(N[:2], 0.3)", "nanpercentile(N[:2], 33.3)",
    "quantile(F, 0.1)", "var(F, ddof=0.1)", "std(F, ddof=0.1)", "nanvar(G, ddof=0.1)", "nanstd(G, ddof=0.1)",
    "var(F, correction=0.1)", "std(F, correction=0.1)", "nanvar(G, correction=0.1)", "nanstd(G, correction=0.1)",
    "average(F, weights=G)",
    "full_like(F, 0.1)", "full_like(I, 2**41 + 1)", "full(3, 0.1, 'float64')", "full(3, 2**41 + 1, 'int64')",
    "full(3, 2**41 + 1)", "full(2, 2**64 - 1, 'uint64')",
    "array([0.1, 1e300], 'float64')", "asarray(1e300, dtype='float64')", "asarray(4294967295, dtype='uint32')",
    "asarray(2**63, dtype='uint64')", "asarray(2**40)", "array([F[0], 0.1])", "array([1, F[0], 2**40])",
    "linspace(0.1, 0.7, 3, dtype='float64')", "linspace(0.1, F, 3)", "linspace(F, 0.1, 3)",
    "linspace(0, 2**40, 5, dtype='int64')", "arange(0.1, 0.7, 0.1, dtype='float64')",
    "arange(2**40, 2**40 + 5, 2, dtype='int64')", "arange(2**40, 2**40 + 3)",
]  # fmt: skip

#: The same within so many ulp, for functions that are not exact to one.
ROUNDED: Final = {
    **{text: 3 for f in _ROUNDED.split() for text in (f"{f}(F, 0.3)", f"{f}(0.3, F)")},
    **{text: 2 for f in _POSITIVE.split() for text in (f"{f}(G, 0.3)", f"{f}(0.3, G)")},
    "interp(F, G, F, period=0.9)": 8,
    "prod(F, initial=0.1)": 4,
    "histogram(F, 3, (-2.3, 4.1))": 2,
    "histogram_bin_edges(F, 3, (-0.7, 0.1))": 2,
    "histogram2d(F, G, 2, ((-1.7, 3.3), (0.05, 3.3)))": 2,
    "histogramdd(M, 2, ((0.05, 0.7), (0.05, 0.7), (0.05, 0.7)))": 2,
    "logspace(0.1, 0.7, 3, dtype='float64')": 4,
    "logspace(0.1, 0.7, 3, base=0.3, dtype='float64')": 4,
    "logspace(G, 0.7, 3)": 8,
    "logspace(0.1, G, 3)": 8,
    "geomspace(0.1, 0.7, 3, dtype='float64')": 4,
    "geomspace(G, 0.7, 3)": 8,
    "geomspace(0.1, G, 3)": 8,
}

#: Updates in place, and what NumPy does to a copy ``x``.
UPDATES: Final = {
    "F.at[0].set(0.1)": "x[0] = 0.1",
    "F.at[K].set(0.3)": "x[K] = 0.3",
    "F.at[B].set(0.3)": "x[B] = 0.3",
    "F.at[1].add(0.1)": "x[1] += 0.1",
    "F.at[K].add(0.1)": "np.add.at(x, K, 0.1)",
    "F.at[1].subtract(0.1)": "x[1] -= 0.1",
    "F.at[1].multiply(0.1)": "x[1] *= 0.1",
    "F.at[1].divide(0.1)": "x[1] /= 0.1",
    "F.at[1].power(3)": "x[1] = x[1] ** 3",
    "F.at[0].min(0.05)": "x[0] = 0.05",
    "F.at[0].max(0.3)": "x[0] = 0.3",
    "F.at[0].apply(lambda v: v * 0.3)": "x[0] *= 0.3",
    "F.at[K + 9].get(mode='fill', fill_value=0.1)": "x[:] = 0.1",
    "I.at[0].set(2**41 + 1)": "x[0] = 2**41 + 1",
    "I.at[1].add(2**41 + 1)": "x[1] += 2**41 + 1",
    "I.at[1].subtract(2**41 + 1)": "x[1] -= 2**41 + 1",
    "I.at[1].multiply(3)": "x[1] *= 3",
    "I.at[0].max(2**41 + 1)": "x[0] = 2**41 + 1",
    "put(F, K, 0.3, inplace=False)": "np.put(x, K, 0.3)",
    "put(I, K, 2**41 + 1, inplace=False)": "np.put(x, K, 2**41 + 1)",
    "place(F, B, 0.3, inplace=False)": "np.place(x, B, 0.3)",
    "put_along_axis(F, K, 0.3, 0, inplace=False)": "np.put_along_axis(x, K, 0.3, 0)",
    "fill_diagonal(M, 0.3, inplace=False)": "np.fill_diagonal(x, 0.3)",
    "compress(B, F, size=3, fill_value=0.3)": "x = np.array([0.1, -1.3, 0.3])",
    "extract(B, F, size=3, fill_value=0.3)": "x = np.array([0.1, -1.3, 0.3])",
}

_LAX: Final = "add sub mul div max min pow rem atan2 nextafter eq ne lt le gt ge"
_LAX_INTEGERS: Final = "add eq ne lt le gt ge"

#: Of the other faces: to the bit as with the number in an array of float64 or int64.
OTHERS: Final = {
    "lax": [
        *[text for f in _LAX.split() for text in (f"{f}(G, 0.1)", f"{f}(0.1, G)")],
        *[text for f in _LAX_INTEGERS.split() for text in (f"{f}(I, 2**40 + 1)", f"{f}(2**40 + 1, I)")],
        "clamp(0.1, F, 0.3)", "select(B, F, 0.1)", "select(B, 0.1, F)", "pad(F, 0.1, [(1, 1, 0)])",
        "pad(I, 2**41 + 1, [(1, 1, 0)])", "full((2,), 0.1, 'float64')", "full_like(F, 0.1)", "dot(F, 0.1)",
        "dot(0.1, F)", "dot_general(F, 0.1, (((), ()), ((), ())))", "dot_general(0.1, F, (((), ()), ((), ())))",
        "dynamic_update_index_in_dim(F, 0.1, 1, 0)", "dynamic_update_slice(F[0], 0.1, ())",
        "reduce_window(F, 0.1, add, (2,), (1,), 'valid')", "convert_element_type(0.1, 'float64')",
    ],
    "nn": [
        "leaky_relu(F, 0.1)", "leaky_relu(-0.1, G)", "elu(F, 0.1)", "elu(-0.1, G)", "celu(F, 0.1)", "celu(-0.1, G)",
        "squareplus(F, 0.1)", "squareplus(0.1, G)", "standardize(F, mean=0.1, variance=0.3, epsilon=0.1)",
        "standardize(F, variance=0.3)", "layer_norm(F, 0.1, 0.3, epsilon=0.1)", "rms_norm(F, 0.1, epsilon=0.1)",
        "batch_norm(F[:, None], 0.1, 0.3, mean=0.7, variance=1.3, epsilon=0.1)",
        "group_norm(M[:, :1], 1, 0.1, 0.3, epsilon=0.1)", "logsumexp(F, b=0.1)",
        "dot_product_attention(M[:, :, None], M[:, :, None], M[:, :, None], 0.1, scale=0.3)",
    ],
    "random": [
        "uniform(key, (3,), 'float64', 0.1, 0.7)", "beta(key, 0.7, 1.3, (3,), 'float64')",
        "chisquare(key, 1.3, (3,), 'float64')", "double_sided_maxwell(key, 0.1, 0.3, (3,), 'float64')",
        "f(key, 1.3, 2.1, (3,), 'float64')", "gamma(key, 1.3, (3,), 'float64')", "loggamma(key, 1.3, (3,), 'float64')",
        "lognormal(key, 0.3, (3,), 'float64')", "pareto(key, 1.3, (3,), 'float64')",
        "rayleigh(key, 0.3, (3,), 'float64')", "t(key, 1.3, (3,), 'float64')",
        "triangular(key, 0.1, 0.3, 0.7, (3,), 'float64')", "truncated_normal(key, -0.1, 0.3, (3,), 'float64')",
        "wald(key, 0.3, (3,), 'float64')", "weibull_min(key, 0.3, 1.3, (3,), 'float64')",
        "generalized_normal(key, 1.3, (3,), 'float64')", "ball(key, 2, 1.3, (3,), 'float64')",
        "randint(key, (3,), -(2**40), 2**41 + 1, 'int64')", "dirichlet(key, [0.1, 0.7], (2,), 'float64')",
        "multivariate_normal(key, [0.1, 0.7], [[1.3, 0.1], [0.1, 0.7]], (2,), 'float64')",
    ],
}  # fmt: skip
