"""The functions that kernels call, as LLVM text: elementary functions, and ``frem``, which NVPTX lacks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from graphad.backends.llvm import mathlib

REMAINDER: Final = "ga_remainder"
"""Symbol of ``double (double x, double y)``: the remainder of ``x / y`` truncated, exact, with the sign of ``x``."""


def definitions(declarations: Iterable[str], attributes: str) -> tuple[list[str], list[str]]:
    """The declarations and definitions that kernels with these declarations need in their module.

    Parameters
    ----------
    declarations
        Lines that declare what the kernels call.
    attributes
        Of every function defined.

    Returns
    -------
    declarations, definitions
        Declarations of what is not defined, and definitions of what is, including what those call in turn.
    """
    outside = dict.fromkeys(declarations)
    texts: list[str] = []
    wanted, defined = mathlib.symbols_in("\n".join(outside)), set[str]()
    while wanted:
        name = wanted.pop(0)
        if name in defined:
            continue
        defined.add(name)
        rare = "noinline " if mathlib.is_slow_path(name) else ""  # which lowers the register pressure of the fast path
        text = mathlib.definition(name, linkage="internal", attributes=rare + attributes)
        head, start, body = text.partition("define ")
        wanted += mathlib.symbols_in(head)
        outside |= dict.fromkeys(head.splitlines())
        texts.append(start + body)
    if any(f"@{REMAINDER}(" in line for line in outside):
        defined.add(REMAINDER)
        outside |= dict.fromkeys(["declare i64 @llvm.ctlz.i64(i64, i1)"])
        texts.append(_REMAINDER.format(name=REMAINDER, attributes=attributes))
    return [line for line in outside if not any(f" @{name}(" in line for name in defined)], texts


# A finite float is m * 2**(e - 1) in units of the least denormal, with e = 1 for denormals. If x has exponent e + n
# where y has e, that is the remainder of mx * 2**n by my. It is taken 11 bits at a time: so many fit beside my.
_REMAINDER: Final = """\
define internal double @{name}(double %x, double %y) nounwind willreturn memory(none) noinline {attributes} {{
entry:
  %bits_x = bitcast double %x to i64
  %bits_y = bitcast double %y to i64
  %size_x = and i64 %bits_x, 9223372036854775807
  %size_y = and i64 %bits_y, 9223372036854775807
  %sign = xor i64 %bits_x, %size_x
  %not_finite = icmp uge i64 %size_x, 9218868437227405312
  %nan_y = icmp ugt i64 %size_y, 9218868437227405312
  %zero_y = icmp eq i64 %size_y, 0
  %odd = or i1 %not_finite, %nan_y
  %undefined = or i1 %odd, %zero_y
  br i1 %undefined, label %none, label %some
none:
  ret double 0x7FF8000000000000
some:
  %less = icmp ult i64 %size_x, %size_y
  br i1 %less, label %same, label %divide
same:
  ret double %x
divide:
  %raw_x = lshr i64 %size_x, 52
  %raw_y = lshr i64 %size_y, 52
  %tiny_x = icmp eq i64 %raw_x, 0
  %tiny_y = icmp eq i64 %raw_y, 0
  %ex = select i1 %tiny_x, i64 1, i64 %raw_x
  %ey = select i1 %tiny_y, i64 1, i64 %raw_y
  %fraction_x = and i64 %size_x, 4503599627370495
  %fraction_y = and i64 %size_y, 4503599627370495
  %normal_x = or i64 %fraction_x, 4503599627370496
  %normal_y = or i64 %fraction_y, 4503599627370496
  %mx = select i1 %tiny_x, i64 %fraction_x, i64 %normal_x
  %my = select i1 %tiny_y, i64 %fraction_y, i64 %normal_y
  %n = sub i64 %ex, %ey
  %first = urem i64 %mx, %my
  %any = icmp ne i64 %n, 0
  br i1 %any, label %more, label %done
more:
  %r = phi i64 [ %first, %divide ], [ %next, %more ]
  %left = phi i64 [ %n, %divide ], [ %rest, %more ]
  %last = icmp ult i64 %left, 11
  %step = select i1 %last, i64 %left, i64 11
  %shifted = shl i64 %r, %step
  %next = urem i64 %shifted, %my
  %rest = sub i64 %left, %step
  %again = icmp ne i64 %rest, 0
  br i1 %again, label %more, label %done
done:
  %m = phi i64 [ %first, %divide ], [ %next, %more ]
  %zeros = call i64 @llvm.ctlz.i64(i64 %m, i1 false)
  %room = sub i64 %zeros, 11
  %most = sub i64 %ey, 1
  %fits = icmp ult i64 %room, %most
  %up = select i1 %fits, i64 %room, i64 %most
  %significand = shl i64 %m, %up
  %exponent = sub i64 %most, %up
  %high = shl i64 %exponent, 52
  %joined = add i64 %significand, %high
  %zero = icmp eq i64 %m, 0
  %size = select i1 %zero, i64 0, i64 %joined
  %bits = or i64 %size, %sign
  %result = bitcast i64 %bits to double
  ret double %result
}}
"""
