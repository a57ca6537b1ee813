"""Functions written once for graphad and JAX: ``m``, with ``np``, ``nn`` and others within, is one or the other.

Each case differentiates its first argument. ``smooth`` ones have a second derivative worth comparing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from graphad.trace.pytree import tree_map
from tests.faces.oracle import arrays, names_in
from tests.parity.expressions import IN_BOTH, OURS_ALONE, variants

_rng = numpy.random.default_rng(7)
SCALAR = numpy.float64(0.7)
VECTOR = _rng.normal(size=4)
OTHER = _rng.normal(size=4)
POSITIVE = numpy.abs(VECTOR) + 0.3
UNIT = numpy.tanh(VECTOR) * 0.8
MATRIX = _rng.normal(size=(3, 4))
RIGHT = _rng.normal(size=(4, 5))
SQUARE = _rng.normal(size=(4, 4))
CUBE = _rng.normal(size=(2, 3, 4))
ROWS = numpy.array([2, 0, 0, 1])
PARAMS = {
    "layers": [
        {"w": _rng.normal(size=(4, 6)) * 0.5, "b": _rng.normal(size=6) * 0.1},
        {"w": _rng.normal(size=(6, 3)) * 0.5, "b": _rng.normal(size=3) * 0.1},
    ],
    "scale": numpy.float64(1.3),
}

#: JAX takes the softmax within in float32, whatever the width of its arguments.
ROUGH = "dot_product_attention"
#: JAX has no reverse mode through it.
FORWARD = "lax.while_loop"


class Case(NamedTuple):
    function: Callable[..., Any]  # (m, *args)
    args: tuple[Any, ...]
    smooth: bool = True
    rough: bool = False  # JAX has few digits
    reverse: bool = True  # JAX has reverse mode


def kinked(function, *args):
    """A case whose second derivative says nothing."""
    return Case(function, args, smooth=False)


def smooth(function, *args):
    return Case(function, args)


def of_expression(text):
    """The case of an expression: a function of the arrays of floats that it names, and of the other arrays."""
    code = compile(text, text, "eval")
    named = {name: value for name, value in arrays(64).items() if name in names_in(text)}
    floats = {name: value for name, value in named.items() if value.dtype == "float64"}
    others = {name: value for name, value in named.items() if name not in floats}
    function = lambda m, floats, others: eval(code, {**vars(m), "numpy": numpy, **floats, **others})
    return Case(function, (floats, others), rough=ROUGH in text, reverse=FORWARD not in text)


def arguments(case, bits):
    """The arguments of a case in a width of floats; integers are of 32 bits."""

    def convert(x):
        x = numpy.asarray(x)
        return x.astype(f"float{bits}") if x.dtype.kind == "f" else x.astype("int32") if x.dtype.kind == "i" else x

    return tree_map(convert, case.args)


def mlp(m, params, x, labels):
    for layer in params["layers"][:-1]:
        x = m.np.tanh(x @ layer["w"] + layer["b"])
    last = params["layers"][-1]
    scores = m.nn.log_softmax((x @ last["w"] + last["b"]) * params["scale"])
    return -m.np.take_along_axis(scores, labels[:, None], axis=1).mean()


def attention(m, q, k, v):
    weights = m.nn.softmax(q @ k.T / m.np.sqrt(q.shape[-1]), axis=-1)
    return weights @ v


def layer_norm(m, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / m.np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def recurrence(m, w, x):
    h = m.np.zeros_like(x[0])
    for row in x:
        h = m.np.tanh(h @ w + row)
    return h


def rosenbrock(m, x):
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def pairwise(m, x):
    differences = x[:, None, :] - x[None, :, :]
    return m.np.exp(-(differences**2).sum(-1)).sum()


def newton(m, a):
    x = a
    for _ in range(4):
        x = x - (x * x - a) / (2 * x)
    return x


def mixture(m, means, x, logits):
    distances = ((x[:, None, :] - means[None, :, :]) ** 2).sum(-1)
    return m.nn.logsumexp(m.nn.log_softmax(logits)[None, :] - 0.5 * distances, axis=1).sum()


def bilinear(m, x, y):
    return m.np.einsum("i,ij,j->", x, y, x)


def nested_gradient(m, x):
    return m.grad(lambda y: m.np.sin(y * x).sum() * y.sum())(x * 2.0)


def per_row(m, x):
    return m.vmap(lambda row: row / m.np.sqrt((row * row).sum()))(x)


def inner_jit(m, x):
    return m.jit(lambda y: m.np.sin(y) * y)(x) + m.jit(lambda y: y * 2)(x)


def recomputed(m, x):
    return m.checkpoint(lambda y: m.np.exp(m.np.sin(y)))(x).sum()


BY_HAND = {
    # one number
    "polynomial": smooth(lambda m, x: x**3 + 2 * x**2 - 3 * x + 1, SCALAR),
    "rational": smooth(lambda m, x: (x + 1) / (x**2 + 2), SCALAR),
    "negative power": smooth(lambda m, x: x**-3, SCALAR),
    "real power": smooth(lambda m, x: x**2.5 + 2.5**x + x**x, SCALAR),
    "sigmoid by hand": smooth(lambda m, x: 1 / (1 + m.np.exp(-x)), SCALAR),
    "tanh": smooth(lambda m, x: m.np.tanh(x), SCALAR),
    "newton": smooth(newton, SCALAR),
    "floor division": kinked(lambda m, x: (x // 0.2) * x + x % 0.3, SCALAR),
    "constant": kinked(lambda m, x: m.np.ones_like(x) * 3, SCALAR),
    "integer coefficients": smooth(lambda m, x: 3 * x * x / 2 - x * 4, SCALAR),
    "identity": kinked(lambda m, x: x, SCALAR),
    # elementwise
    "exp and log": smooth(lambda m, x: m.np.exp(x) * m.np.log(x), POSITIVE),
    "expm1 and log1p": smooth(lambda m, x: m.np.expm1(x) - m.np.log1p(x), POSITIVE),
    "log bases": smooth(lambda m, x: m.np.log2(x) + m.np.log10(x) + m.np.exp2(x), POSITIVE),
    "roots": smooth(lambda m, x: m.np.sqrt(x) + m.np.reciprocal(x) + m.np.square(x), POSITIVE),
    "sine and cosine": smooth(lambda m, x: m.np.sin(x) * m.np.cos(x) + m.np.tan(x), UNIT),
    "inverse functions": smooth(lambda m, x: m.np.arcsin(x) + m.np.arccos(x) * m.np.arctan(x), UNIT),
    "hyperbolic": smooth(lambda m, x: m.np.sinh(x) / m.np.cosh(x) + m.np.tanh(x), VECTOR),
    "absolute value and sign": kinked(lambda m, x: m.np.abs(x) * m.np.sign(x) + abs(x), VECTOR),
    "rounding": kinked(lambda m, x: m.np.floor(x) + m.np.ceil(x) * x + m.np.round(x) + m.np.trunc(x) * x, VECTOR * 3),
    "maximum and minimum": kinked(lambda m, x, y: m.np.maximum(x, y) * m.np.minimum(x, 0.1), VECTOR, OTHER),
    "ties of maximum": kinked(
        lambda m, x: m.np.maximum(x, x * 1.0) + m.np.minimum(x, 0.0), numpy.array([0.0, 1.0, -1.0])
    ),
    "clip": kinked(lambda m, x: m.np.clip(x, -0.5, 0.5) * x, VECTOR),
    "where": kinked(lambda m, x: m.np.where(x > 0, x * x, -x), VECTOR),
    "guarded division": smooth(lambda m, x: m.np.where(x > 0, 1 / m.np.where(x > 0, x, 1.0), 0.0), VECTOR),
    "logaddexp": smooth(lambda m, x, y: m.np.logaddexp(x, y), VECTOR, OTHER),
    "hypot": smooth(lambda m, x, y: m.np.hypot(x, y), POSITIVE, OTHER),
    "power of arrays": smooth(lambda m, x, y: m.np.power(x, y), POSITIVE, OTHER),
    "comparison as numbers": kinked(lambda m, x: (x > 0) * x + (x <= 0.5).astype(x.dtype), VECTOR),
    "broadcasting": smooth(lambda m, x, y: x[:, None] * y[None, :] + x[:3] @ y.reshape(4, 1)[:3], VECTOR, OTHER),
    "casts": kinked(lambda m, x: x.astype(int) * x + x.astype("float32"), VECTOR * 3),
    # reductions
    "sum and mean": smooth(lambda m, x: (x.sum(0) * x.mean(0)).sum() + x.sum(), MATRIX),
    "sums of axes": smooth(lambda m, x: (x**2).sum((0, 2)) * x.sum(axis=1, keepdims=True)[0, 0, 0], CUBE),
    "product": smooth(lambda m, x: m.np.prod(x) + m.np.prod(x[1:]), POSITIVE),
    "products of rows": smooth(lambda m, x: m.np.prod(x, axis=1), MATRIX),
    "product with a zero": kinked(lambda m, x: m.np.prod(x), numpy.array([2.0, 0.0, 3.0])),
    "max and min": kinked(lambda m, x: m.np.max(x, axis=0) - m.np.min(x) * x.max(), MATRIX),
    "ties of max": kinked(lambda m, x: m.np.max(x) * 2, numpy.array([1.0, 3.0, 3.0, 3.0])),
    "argmax": kinked(lambda m, x: x[m.np.argmax(x)] * m.np.argmin(x), VECTOR),
    "any and all": kinked(lambda m, x: m.np.where(m.np.any(x > 0), x, -x) * m.np.all(x < 9), VECTOR),
    "variance": smooth(lambda m, x: m.np.var(x, axis=1) + m.np.std(x), MATRIX),
    "cumsum": smooth(lambda m, x: m.np.cumsum(x**2, axis=1) * m.np.cumsum(x, axis=0), MATRIX),
    "flat cumsum": smooth(lambda m, x: m.np.cumsum(x) ** 2, MATRIX),
    "average": smooth(lambda m, x, w: m.np.average(x, weights=w), VECTOR, POSITIVE),
    "norm": smooth(lambda m, x: m.np.linalg.norm(x) + m.np.sqrt(m.np.dot(x, x)), VECTOR),
    # products
    "dot": smooth(lambda m, x, y: m.np.dot(x, y) ** 2, VECTOR, OTHER),
    "matmul": smooth(lambda m, x, y: m.np.sin(x @ y), MATRIX, RIGHT),
    "matrix times vector": smooth(lambda m, x, v: (x @ v) ** 2, MATRIX, VECTOR),
    "vector times matrix": smooth(lambda m, v, x: (v @ x) ** 2, VECTOR, RIGHT),
    "batched matmul": smooth(lambda m, x, y: x @ y, CUBE, RIGHT),
    "batched both": smooth(lambda m, x: x @ m.np.swapaxes(x, 1, 2), CUBE),
    "outer and inner": smooth(lambda m, x, y: m.np.outer(x, y) + m.np.inner(x, y), VECTOR, OTHER),
    "tensordot": smooth(lambda m, x, y: m.np.tensordot(x, y, axes=([2, 1], [0, 1])), CUBE, _rng.normal(size=(4, 3, 2))),
    "einsum": smooth(lambda m, x, y: m.np.einsum("bij,jk->bk", x, y), CUBE, RIGHT),
    "quadratic form": smooth(bilinear, VECTOR, SQUARE),
    "power of a matrix": smooth(lambda m, x: x @ x @ x, SQUARE),
    "trace and diagonal": smooth(lambda m, x: m.np.trace(x @ x) + m.np.diag(x) ** 2, SQUARE),
    # shapes
    "reshape and transpose": smooth(lambda m, x: x.reshape(2, 6).T @ x.reshape(-1, 4)[:2] ** 2, MATRIX),
    "axes": smooth(lambda m, x: m.np.moveaxis(x, 0, 2) * m.np.transpose(x, (1, 2, 0)), CUBE),
    "squeeze and expand": smooth(lambda m, x: m.np.squeeze(m.np.expand_dims(x, (0, 2)), 0) ** 2, MATRIX),
    "concatenate": smooth(lambda m, x: m.np.concatenate([x, x * x, x[:1]], axis=0) * 2, MATRIX),
    "stack": smooth(lambda m, x: m.np.stack([x, x**2], axis=1).sum(2) * m.np.hstack([x, x]).sum(), MATRIX),
    "array of results": smooth(lambda m, x: m.np.array([x[0] ** 2 + x[1], x[2] * x[3]]), VECTOR),
    "split and roll": smooth(lambda m, x: m.np.split(x, 2)[0] * m.np.roll(x, 1)[:2], VECTOR),
    "tile and repeat": smooth(lambda m, x: m.np.tile(x, 2) * m.np.repeat(x**2, 2), VECTOR),
    "pad and flip": smooth(
        lambda m, x: m.np.pad(x, ((1, 0), (0, 2))) * m.np.flip(m.np.pad(x, ((1, 0), (0, 2))), 1), MATRIX
    ),
    "triangles": smooth(lambda m, x: m.np.tril(x) @ m.np.triu(x, 1), SQUARE),
    "meshgrid": smooth(lambda m, x: m.np.meshgrid(x, x**2)[0] * m.np.meshgrid(x, x**2)[1], VECTOR),
    "broadcast": smooth(lambda m, x: m.np.broadcast_to(x, (3, 4)).sum(0) * x, VECTOR),
    # indexing
    "one element": smooth(lambda m, x: x[1] * x[-1], VECTOR),
    "slices": smooth(lambda m, x: x[1:, ::2] * x[:-1, 1::2], MATRIX),
    "backwards": smooth(lambda m, x: x[::-1] * x[3:0:-1].sum(), VECTOR),
    "new axes": smooth(lambda m, x: x[None, :, None] * x[..., None], VECTOR),
    "unpacking": smooth(lambda m, x: (lambda a, b, c, d: a * b - c / d)(*x), POSITIVE),
    "gather rows": smooth(lambda m, x: x[ROWS] ** 2, MATRIX),
    "gather pairs": smooth(lambda m, x: x[ROWS, numpy.array([0, 1, 2, 3])] ** 2, MATRIX),
    "gather and slice": smooth(lambda m, x: x[:, ROWS, 1:3] ** 2, CUBE),
    "boolean mask": smooth(lambda m, x: x[numpy.array([True, False, True, True])] ** 2, VECTOR),
    "take": smooth(lambda m, x: m.np.take(x, ROWS, axis=1) ** 2, MATRIX),
    "take along axis": smooth(lambda m, x: m.np.take_along_axis(x, ROWS.reshape(2, 2), axis=1) ** 2, SQUARE[:2]),
    "traced index": smooth(lambda m, x, i: x[i] * x[i + 1], VECTOR, numpy.int32(1)),
    "index set": smooth(lambda m, x: x.at[1].set(x[0] * x[2]) ** 2, VECTOR),
    "index add": smooth(lambda m, x: x.at[ROWS].add(x[0] ** 2) * x, MATRIX),
    "index multiply": smooth(lambda m, x: x.at[numpy.array([0, 2])].multiply(x[1], unique_indices=True), VECTOR),
    "index max": kinked(lambda m, x: x.at[:2].max(0.1) + x.at[2:].min(-0.1), VECTOR),
    "slice set": smooth(lambda m, x: x.at[1:, :2].set(x[:-1, 2:] ** 2), MATRIX),
    # networks
    "relu": kinked(lambda m, x: m.nn.relu(x) * x, VECTOR),
    "sigmoid": smooth(lambda m, x: m.nn.sigmoid(x), VECTOR),
    "softplus and silu": smooth(lambda m, x: m.nn.softplus(x) * m.nn.silu(x), VECTOR),
    "gelu": smooth(lambda m, x: m.nn.gelu(x), VECTOR),
    "exact gelu": smooth(lambda m, x: m.nn.gelu(x, approximate=False), VECTOR),
    "softmax": smooth(lambda m, x: m.nn.softmax(x, axis=-1), MATRIX),
    "softmax of columns": smooth(lambda m, x: m.nn.softmax(x, axis=0), MATRIX),
    "log softmax": smooth(lambda m, x: m.nn.log_softmax(x), MATRIX),
    "logsumexp": smooth(lambda m, x: m.nn.logsumexp(x, axis=1), MATRIX),
    "one hot": smooth(lambda m, x: m.nn.one_hot(ROWS, 3) @ x, MATRIX),
    "layer norm": smooth(layer_norm, MATRIX),
    "attention": smooth(attention, MATRIX, RIGHT.T[:, :4], RIGHT.T),
    "mlp": smooth(mlp, PARAMS, MATRIX, numpy.array([0, 2, 1])),
    "recurrence": smooth(recurrence, SQUARE, MATRIX),
    "gaussian mixture": smooth(mixture, MATRIX, SQUARE, VECTOR[:3]),
    "logistic regression": smooth(
        lambda m, w, x, y: m.np.log1p(m.np.exp(-y * (x @ w))).sum(), VECTOR, MATRIX, numpy.array([1.0, -1.0, 1.0])
    ),
    # programs
    "rosenbrock": smooth(rosenbrock, VECTOR),
    "pairwise kernel": smooth(pairwise, MATRIX),
    "python loop": smooth(lambda m, x: sum(x**k / (k + 1) for k in range(5)), VECTOR),
    "nested gradient": smooth(nested_gradient, VECTOR),
    "vmap inside": smooth(per_row, MATRIX),
    "jit inside": smooth(inner_jit, VECTOR),
    "checkpoint inside": smooth(recomputed, VECTOR),
    "stop gradient": smooth(lambda m, x: x * m.lax.stop_gradient(x) + m.lax.stop_gradient(x**2), VECTOR),
    "tree of results": smooth(lambda m, p: {"a": p["x"] * p["y"], "b": [p["x"].sum()]}, {"x": VECTOR, "y": SCALAR}),
}

#: Theme -> name -> case. The functions of a theme are compiled as one program.
THEMES = {"by hand": BY_HAND}
for theme, texts in IN_BOTH.items():
    further = variants(texts) if theme != "programs" else set()
    THEMES[theme] = {text: of_expression(text) for text in texts if text not in further}
    if further:
        # Of further variants: each of these functions has a case in the theme that it is of.
        THEMES[f"{theme}, varied"] = {text: of_expression(text) for text in texts if text in further}
CASES = {(theme, name): case for theme, cases in THEMES.items() for name, case in cases.items()}

#: Cases that have no counterpart in JAX: their derivatives are compared with differences only.
ALONE = {text: of_expression(text) for text in OURS_ALONE}
