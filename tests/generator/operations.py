"""What random programs are made of: one line per operation, as text that NumPy, graphad and JAX run alike.

In a text ``{0}`` is the first operand and ``{axis}`` a parameter; ``xp`` is the library (`tests.generator.spaces`).
Each operation states how many ulps its result may be off. Where it adds up many terms, ``backward`` says that this
holds for operands that are off by as much: what is a large relative error of a sum is a small one of its terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Operation:
    """One kind of step.

    Attributes
    ----------
    name, text
        What it is called, and what it runs.
    kinds
        One letter per operand: f (float), i (int32), b (bool).
    ulps
        Bound of the error of a result, in units of the last place; 0: exact; 1: correctly rounded.
    backward
        The bound holds for operands that are off by ``ulps`` each.
    domain
        Where it is smooth; None: it has no derivative to compare, or none everywhere.
    fit
        The shapes it takes: a name in `PARAMETERS`, which picks the parameters too.
    batches
        It means the same for one element of a batch.
    forward
        It has forward mode.
    """

    name: str
    text: str
    kinds: str = "f"
    ulps: float = 4
    backward: bool = False
    domain: tuple[float, float] | None = None
    fit: str = "alike"
    batches: bool = True
    forward: bool = True


def _functions(names: str, low: float, high: float, **options: Any) -> list[Operation]:
    return [Operation(n, f"xp.{n}({{0}})", domain=(low, high), **options) for n in names.split()]


_sums = partial(Operation, backward=True, domain=(-1, 1))

ELEMENTWISE = [
    *_functions("sin cos tanh arctan arcsinh exp expm1 sinh cosh exp2", -1.0, 1.0),
    *_functions("log log2 log10 sqrt cbrt reciprocal arccosh", 1.1, 3.0),
    *_functions("log1p", -0.5, 2.0),
    *_functions("arcsin arccos arctanh", -0.9, 0.9),
    *_functions("tan", -1.2, 1.2, ulps=8),
    *_functions("erf", -2.0, 2.0, ulps=8),
    *_functions("sigmoid", -4.0, 4.0, ulps=8),
    *_functions("negative square", -1.5, 1.5, ulps=1),
    *_functions("absolute", 0.1, 1.0, ulps=0),
    *[Operation(n, f"xp.{n}({{0}})", ulps=0) for n in ("sign", "floor", "ceil", "trunc", "rint", "absolute")],
    # Backward, for a product among the operands may not have been rounded before (contraction).
    _sums("add", "{0} + {1}", "ff", ulps=1),
    _sums("subtract", "{0} - {1}", "ff", ulps=1),
    Operation("multiply", "{0} * {1}", "ff", ulps=1, domain=(-1, 1)),
    Operation("divide", "{0} / {1}", "ff", ulps=1, domain=(1, 2)),
    Operation("power", "xp.power(xp.absolute({0}) + 0.5, {1})", "ff", ulps=16, domain=(0.5, 1.5)),
    Operation("integer power", "{0} ** {n}", ulps=8, domain=(0.5, 1.5), fit="exponent"),
    Operation("arctan2", "xp.arctan2({0}, {1})", "ff", domain=(0.5, 1.5)),
    Operation("hypot", "xp.hypot({0}, {1})", "ff", domain=(0.5, 1.5)),
    _sums("logaddexp", "xp.logaddexp({0}, {1})", "ff", ulps=8),
    Operation("maximum", "xp.maximum({0}, {1})", "ff", ulps=0, domain=(-1, 1)),
    Operation("minimum", "xp.minimum({0}, {1})", "ff", ulps=0, domain=(-1, 1)),
    # The sign of a nan means nothing.
    Operation("copysign", "xp.copysign({0}, xp.finite({1}))", "ff", ulps=0),
    Operation("signbit", "xp.signbit(xp.finite({0}))", ulps=0),
    Operation("remainder", "{0} % {number}", ulps=4, fit="number"),
    Operation("fmod", "xp.fmod({0}, {number})", ulps=1, fit="number"),
    Operation("floor_divide", "{0} // {number}", ulps=0, fit="number"),
    Operation("scaled", "xp.rounded({number} * {0}, 1) + {other}", ulps=2, domain=(-1, 1), fit="number", backward=True),
    Operation("number minus", "{number} - xp.rounded({0} / {other}, 1)", "f", 2, True, domain=(-1, 1), fit="number"),
    Operation("clip", "xp.clip({0}, -0.5, 1.5)", ulps=0, domain=(-0.4, 1.4)),
    Operation("where", "xp.where({0}, {1}, {2})", "bff", ulps=0),
    Operation("choice", "xp.where({0} > 0.05, {1}, {0})", "ff", ulps=0, domain=(-1, 1)),
    Operation("where number", "xp.where({0} > {number}, {0}, {other})", ulps=0, fit="number"),
    *[Operation(n, f"{{0}} {n} {{1}}", "ff", ulps=0) for n in ("<", "<=", "==", "!=", ">", ">=")],
    *[Operation(f"{n} number", f"{{0}} {n} {{number}}", ulps=0, fit="number") for n in ("<", ">=", "==")],
    *[Operation(n, f"xp.{n}({{0}})", ulps=0) for n in ("isnan", "isfinite")],
    *[Operation(f"bool {n}", f"{{0}} {n} {{1}}", "bb", ulps=0) for n in ("&", "|", "^")],
    Operation("not", "~{0}", "b", ulps=0),
    Operation("float of int", "xp.to_float({0})", "i", ulps=0),
    Operation("float of bool", "xp.to_float({0})", "b", ulps=0),
    Operation("int of bool", "xp.to_int({0})", "b", ulps=0),
    Operation("int of float", "xp.to_int(xp.where(xp.isnan({0}), 0.0, xp.clip({0}, -99.0, 99.0)))", ulps=0),
    *[Operation(f"int {n}", f"{{0}} {n} {{1}}", "ii", ulps=0) for n in ("+", "-", "*", "&", "|", "^", "<", "==")],
    *[Operation(f"int {n} n", f"{{0}} {n} {{divisor}}", "i", ulps=0, fit="divisor") for n in ("//", "%")],
    Operation("shift left", "{0} << {bits}", "i", ulps=0, fit="bits"),
    Operation("shift right", "{0} >> {bits}", "i", ulps=0, fit="bits"),
    Operation("int extrema", "xp.maximum({0}, xp.minimum({1}, 3))", "ii", ulps=0),
    Operation("int times float", "{0} * {1}", "if", ulps=1),
]  # fmt: skip

REDUCTIONS = [
    _sums("sum", "xp.sum({0}, axis={axis}, keepdims={keep})", fit="axis"),
    _sums("mean", "xp.mean({0}, axis={axis}, keepdims={keep})", fit="full axis"),
    Operation("prod", "xp.prod({0}, axis={axis})", ulps=16, backward=True, domain=(0.5, 1.2), fit="axis"),
    Operation("max", "xp.max({0}, axis={axis}, keepdims={keep})", ulps=0, domain=(-1, 1), fit="full axis"),
    Operation("min", "xp.min({0}, axis={axis})", ulps=0, domain=(-1, 1), fit="full axis"),
    Operation("argmax", "xp.to_int(xp.argmax({0}, axis={axis}))", ulps=0, fit="full axis"),
    Operation("argmin", "xp.to_int(xp.argmin({0}, axis={axis}))", ulps=0, fit="full axis"),
    _sums("var", "xp.var({0}, axis={axis})", ulps=16, fit="full axis"),
    _sums("std", "xp.sqrt(0.25 + xp.rounded(xp.var({0}, axis={axis}), 16))", ulps=16, fit="full axis"),
    Operation("any", "xp.any({0}, axis={axis})", "b", ulps=0, fit="axis"),
    Operation("all", "xp.all({0}, axis={axis})", "b", ulps=0, fit="axis"),
    Operation("int sum", "xp.to_int(xp.sum({0}, axis={axis}))", "i", ulps=0, fit="axis"),
    _sums("cumsum", "xp.cumsum({0}, axis={one})", fit="one axis"),
    Operation("cumprod", "xp.cumprod({0}, axis={one})", ulps=16, domain=(0.5, 1.2), fit="one axis"),
    Operation("cummax", "xp.cummax({0}, {one})", ulps=0, domain=(-1, 1), fit="one axis"),
    _sums("logsumexp", "xp.logsumexp({0}, {one})", ulps=16, fit="one axis"),
    _sums("softmax", "xp.softmax({0}, {one})", ulps=16, fit="one axis"),
    Operation("diff", "xp.diff({0}, axis={one})", ulps=1, domain=(-1, 1), fit="one axis"),
    Operation("sort", "xp.sort({0}, axis={one}, stable=True)", ulps=0, domain=(-1, 1), fit="one axis"),
    Operation("argsort", "xp.to_int(xp.argsort({0}, axis={one}, stable=True))", ulps=0, fit="one axis"),
]  # fmt: skip

SHAPES = [
    Operation("reshape", "xp.reshape({0}, {shape})", ulps=0, domain=(-1, 1), fit="reshape", batches=False),
    Operation("ravel", "xp.reshape({0}, (-1,))", ulps=0, domain=(-1, 1)),
    Operation("transpose", "xp.transpose({0}, {order})", ulps=0, domain=(-1, 1), fit="order"),
    Operation("flip", "xp.flip({0}, {one})", ulps=0, domain=(-1, 1), fit="one axis"),
    Operation("roll", "xp.roll({0}, {shift}, {one})", ulps=0, domain=(-1, 1), fit="one axis"),
    Operation("expand", "xp.expand_dims({0}, 0)", ulps=0, domain=(-1, 1)),
    Operation("broadcast", "xp.broadcast_to({0}, {wide})", ulps=0, domain=(-1, 1), fit="wide"),
    Operation("tile", "xp.tile({0}, 2)", ulps=0, domain=(-1, 1), fit="one axis"),
    Operation("repeat", "xp.repeat({0}, 3, axis={one})", ulps=0, domain=(-1, 1), fit="one axis"),
    Operation("slice", "{0}[{start}:{stop}:{step}]", ulps=0, domain=(-1, 1), fit="slice"),
    Operation("last", "{0}[..., {index}]", ulps=0, domain=(-1, 1), fit="index"),
    Operation("gather", "{0}[xp.indices({picks})]", ulps=0, domain=(-1, 1), fit="picks"),
    Operation("set", "xp.at_set({0}, {index}, {number})", ulps=0, domain=(-1, 1), fit="leading index"),
    _sums("add at", "xp.at_add({0}, {picks}, {number})", ulps=2, fit="picks"),
    Operation("pad", "xp.pad({0}, 1, constant_values={number})", ulps=0, domain=(-1, 1), fit="one axis"),
    Operation("concatenate", "xp.concatenate([{0}, {1}], axis={one})", "ff", ulps=0, domain=(-1, 1), fit="joined"),
    Operation("stack", "xp.stack([{0}, {1}], axis={one})", "ff", ulps=0, domain=(-1, 1), fit="joined"),
    Operation("triangle", "xp.tril({0})", ulps=0, domain=(-1, 1), fit="matrix"),
    Operation("int slice", "{0}[{start}:{stop}:{step}]", "i", ulps=0, fit="slice"),
    Operation("bool flip", "xp.flip({0}, {one})", "b", ulps=0, fit="one axis"),
]  # fmt: skip

PRODUCTS = [
    _sums("matmul", "{0} @ {1}", "ff", ulps=8, fit="matrices"),
    _sums("dot", "xp.sum({0} * {1})", "ff", ulps=8),
    Operation("outer", "{0}[..., None] * {1}[..., None, :]", "ff", ulps=1, domain=(-1, 1), fit="joined"),
    _sums("einsum", "xp.einsum('...i,...i->...', {0}, {1})", "ff", ulps=16, fit="joined"),
    _sums("pool", "xp.pool({0})", ulps=0, fit="line"),
    _sums("dynamic slice", "xp.dynamic({0}, {start})", ulps=0, fit="dynamic"),
    # Of finite numbers: where it is padded, infinities are multiplied with zeros.
    _sums("convolve", "xp.convolve(xp.finite({0}), xp.finite({1}))", "ff", ulps=8, fit="lines"),
]  # fmt: skip

NESTED = [
    _sums("jit", "xp.jit(lambda y: xp.sin(y) * {number} + y)({0})", ulps=8, fit="number"),
    _sums("checkpoint", "xp.checkpoint(lambda y: xp.tanh(y * {number}) * y)({0})", ulps=8, fit="number"),
    Operation("custom rule", "xp.custom({0})", ulps=8, domain=(-1, 1)),
    Operation("custom pullback", "xp.custom_back({0})", ulps=8, domain=(-1, 1), forward=False),
    _sums("vmap", "xp.vmap(lambda y: xp.sum(y) * y)({0})", ulps=8, fit="one axis"),
    _sums("wide", "xp.wide({0})", ulps=1),
    _sums("branch", "(xp.sin({0}) if xp.sum({0}) > {number} else {0} * 0.5)", fit="number", batches=False),
    _sums("loop", "xp.loop({0})", ulps=8, batches=False),
]  # fmt: skip

OPERATIONS = [*ELEMENTWISE, *REDUCTIONS, *SHAPES, *PRODUCTS, *NESTED]
GROUPS = [ELEMENTWISE, ELEMENTWISE, ELEMENTWISE, REDUCTIONS, SHAPES, PRODUCTS, NESTED]
