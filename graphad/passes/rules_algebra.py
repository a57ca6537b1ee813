"""Rules of arithmetic, comparison, logic and casts.

Floating-point sums and products are rewritten only where results are bitwise equal: -0.0 is the identity of addition
(0.0 is not: -0.0 + 0.0 is 0.0), 1 that of multiplication, and a sign moves freely through products but not through
differences (a - b and b - a are both 0.0 where a = b, so neither is the negative of the other). Rules preserve
derivatives, too: a rule that only preserved values could not run before differentiation.
"""

from __future__ import annotations

from math import frexp, inf
from typing import Any, Final

from graphad.ir.types import DType, Literal, b1, bf16, f16, f32, f64
from graphad.passes.pattern import const, param, var
from graphad.passes.rewrite import RuleSet, rule
from graphad.primitives.cast import convert
from graphad.primitives.elementwise import (
    add,
    and_,
    div,
    eq,
    exp,
    ge,
    gt,
    integer_pow,
    le,
    log,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    not_,
    or_,
    select,
    sub,
    xor,
)

x, y, z = var("x"), var("y"), var("z")
f = var("f", "f")  # a float
i, j = var("i", "iu"), var("j", "iu")  # integers
p, q = var("p", "b"), var("q", "b")  # booleans
c, d = const("c"), const("d")
k, m = const("k", "iu"), const("m", "iu")
n = param("n")
s, t = param("s"), param("t")


# ---------------------------------------------------------------------------------------------------------------------
# Sums, products, quotients


def _power_of_two(c: Literal) -> bool:
    """Whether division by it is multiplication by its inverse, bitwise."""
    if c.dtype not in (f32, f64):
        return False
    mantissa, exponent = frexp(abs(float(c.value)))
    return mantissa == 0.5 and abs(exponent) < (126 if c.dtype is f32 else 1022)


ARITHMETIC = RuleSet(
    [
        rule("add-minus-zero", add(x, -0.0), x),
        rule("add-zero-integer", add(i, 0), i),
        rule("add-zero", add(f, 0.0), f, exact=False),  # -0.0 + 0.0 is 0.0
        rule("add-negative", add(x, neg(y)), sub(x, y)),
        rule("sub-zero", sub(x, 0), x),
        rule("sub-minus-zero", sub(f, -0.0), f, exact=False),  # -0.0 - -0.0 is 0.0
        rule("sub-from-minus-zero", sub(-0.0, x), neg(x)),
        rule("sub-from-zero-integer", sub(0, i), neg(i)),
        rule("sub-from-zero", sub(0.0, f), neg(f), exact=False),  # 0.0 - 0.0 is 0.0
        rule("sub-negative", sub(x, neg(y)), add(x, y)),
        rule("sub-self-integer", sub(i, i), 0),
        rule("sub-self", sub(f, f), 0, exact=False),  # inf and nan
        rule("neg-neg", neg(neg(x)), x),
        rule("neg-sub-integer", neg(sub(i, j)), sub(j, i)),
        rule("neg-sub", neg(sub(f, y)), sub(y, f), exact=False),  # x - x is 0.0 from both sides
        rule("neg-times-constant", neg(mul(x, c)), mul(x, neg(c))),
        rule("mul-one", mul(x, 1), x),
        rule("mul-minus-one", mul(x, -1), neg(x)),
        rule("mul-zero-integer", mul(i, 0), 0),
        rule("mul-zero", mul(f, 0.0), 0, exact=False),  # inf, nan, and the sign of zero
        rule("mul-negatives", mul(neg(x), neg(y)), mul(x, y)),
        rule("mul-negative-constant", mul(neg(x), c), mul(x, neg(c))),
        rule("mul-mask", mul(f, convert(p, dtype=s)), select(p, f, 0), exact=False, examples=[{"s": f32}, {"s": f64}]),
        rule("mul-half-double", mul(add(f, f), 0.5), f, exact=False),  # f + f may overflow
        rule("div-one", div(x, 1), x),
        rule("div-minus-one", div(x, -1), neg(x)),
        rule("div-negatives", div(neg(x), neg(y)), div(x, y)),
        rule("div-negative-constant", div(neg(x), c), div(x, neg(c))),
        rule("div-power-of-two", div(x, c), mul(x, div(1.0, c)), when=_power_of_two,
             examples=[{"c": 4.0}, {"c": -0.5}, {"c": 2.0**-100}]),
        rule("div-constant", div(x, c), mul(x, div(1.0, c)), when=lambda c: c.value != 0, exact=False),
        rule("div-self", div(x, x), 1, exact=False),  # 0, inf and nan
        rule("add-constants-integer", add(add(i, k), m), add(i, add(k, m))),
        rule("add-constants", add(add(f, c), d), add(f, add(c, d)), exact=False),
        rule("mul-constants-integer", mul(mul(i, k), m), mul(i, mul(k, m))),
        rule("mul-constants", mul(mul(f, c), d), mul(f, mul(c, d)), exact=False),
        rule("pow-zero", integer_pow(x, n=0), 1),
        rule("pow-one", integer_pow(x, n=1), x),
        rule("pow-two", integer_pow(x, n=2), mul(x, x)),
        rule("exp-log", exp(log(x)), x, exact=False),
        rule("log-exp", log(exp(x)), x, exact=False),
    ]
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Selection and logic

LOGIC = RuleSet(
    [
        rule("select-same", select(p, x, x), x),
        rule("select-true", select(True, x, y), x),
        rule("select-false", select(False, x, y), y),
        rule("select-not", select(not_(p), x, y), select(p, y, x)),
        rule("select-select-true", select(p, select(p, x, y), z), select(p, x, z)),
        rule("select-select-false", select(p, x, select(p, y, z)), select(p, x, z)),
        rule("select-mask", select(p, 1, 0), lambda p, out: convert(p, dtype=out.dtype)),
        rule("select-identity", select(p, True, False), p),
        rule("max-self", maximum(x, x), x),
        rule("min-self", minimum(x, x), x),
        rule("max-least", maximum(f, -inf), f),
        rule("min-most", minimum(f, inf), f),
        rule("not-not", not_(not_(x)), x),
        rule("not-eq", not_(eq(x, y)), ne(x, y)),
        rule("not-ne", not_(ne(x, y)), eq(x, y)),
        rule("not-lt-integer", not_(lt(i, j)), ge(i, j)),  # floats: neither holds of nan
        rule("not-le-integer", not_(le(i, j)), gt(i, j)),
        rule("not-gt-integer", not_(gt(i, j)), le(i, j)),
        rule("not-ge-integer", not_(ge(i, j)), lt(i, j)),
        rule("and-self", and_(x, x), x),
        rule("or-self", or_(x, x), x),
        rule("xor-self", xor(i, i), 0),
        rule("and-true", and_(p, True), p),
        rule("and-false", and_(p, False), False),
        rule("and-zero", and_(i, 0), 0),
        rule("or-true", or_(p, True), True),
        rule("or-false", or_(p, False), p),
        rule("or-zero", or_(i, 0), i),
        rule("xor-zero", xor(i, 0), i),
        rule("xor-false", xor(p, False), p),
        rule("xor-true", xor(p, True), not_(p)),
        rule("ne-zero-mask", ne(convert(p, dtype=s), 0), p, examples=[{"s": f32}]),
        rule("ne-false", ne(p, False), p),
        rule("eq-true", eq(p, True), p),
        rule("eq-self-integer", eq(i, i), True),
        rule("ne-self-integer", ne(i, i), False),
    ]
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Casts

MANTISSA: Final = {bf16: 8, f16: 11, f32: 24, f64: 53}  # bits, the hidden one too
_RANGE: Final = {bf16: 8, f16: 5, f32: 8, f64: 11}  # bits of the exponent


def holds(wide: DType, narrow: DType) -> bool:
    """Every value of ``narrow`` is one of ``wide``."""
    if wide is narrow or narrow is b1:
        return True
    if wide is b1 or (narrow.is_float and not wide.is_float):
        return False
    if narrow.is_float:
        return MANTISSA[wide] >= MANTISSA[narrow] and _RANGE[wide] >= _RANGE[narrow]
    bits = narrow.bits - (narrow.kind == "i")
    if wide.is_float:
        return MANTISSA[wide] >= bits and 2 ** (_RANGE[wide] - 1) > bits
    if narrow.kind == "i" and wide.kind == "u":
        return False
    return wide.bits - (wide.kind == "i") >= bits


def _convert_once(x: Any, s: DType, t: DType) -> Any:
    """Leave out a cast that loses nothing."""
    if not holds(s, x.dtype):
        return None
    if x.dtype.is_integer and s.is_float and t.is_integer and not holds(t, x.dtype):
        return None  # floats saturate, integers wrap around
    return convert(x, dtype=t)


CASTS = RuleSet(
    [
        rule("convert-same", convert(x, dtype=s), x, when=lambda x, s: x.dtype is s, examples=[{"s": f32}]),
        rule("convert-convert", convert(convert(x, dtype=s), dtype=t), _convert_once,
             examples=[{"s": f64, "t": f32}, {"s": f64, "t": f16}, {"s": f32, "t": b1}]),
    ]
)  # fmt: skip
