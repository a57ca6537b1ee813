"""Truncated Taylor series over mpmath's numbers: what a function and its derivatives are, to 150 digits.

A `Jet` is a value and its derivatives up to the third. The rules are those of a textbook, written without regard
to rounding: the numbers have so many digits, and exponents without bounds, that nothing cancels or overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath
from mpmath import mp

ORDER = 3
#: Bits of all computations: differences like 1 - exp(-300) keep their digits.
PRECISION = 500
#: What stands for infinity. All that decays is far below the smallest float64 there, and what grows above the largest.
INFINITY = mpmath.ldexp(1, 20_000)


class Jet:
    """A polynomial of degree 3 in two small steps: ``c[i, j]`` is a derivative divided by i! and j!."""

    __slots__ = ("c",)

    def __init__(self, c: Mapping[tuple[int, int], Any]) -> None:
        self.c = c

    @property
    def value(self) -> Any:
        return self.c[0, 0]

    def derivative(self, i: int, j: int = 0) -> Any:
        """The derivative of order i by the first variable and j by the second."""
        return self.c.get((i, j), mp.mpf(0)) * (math.factorial(i) * math.factorial(j))

    def __add__(self, other: Any) -> Jet:
        terms = other.c if isinstance(other, Jet) else {(0, 0): other}
        return Jet({**self.c, **{k: self.c[k] + v if k in self.c else v for k, v in terms.items()}})

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            return Jet({k: v * other for k, v in self.c.items()})
        product: dict[tuple[int, int], Any] = {}
        for (i, j), a in self.c.items():
            for (k, m), b in other.c.items():
                if i + j + k + m <= ORDER:
                    at = (i + k, j + m)
                    product[at] = product[at] + a * b if at in product else a * b
        return Jet(product)

    def __neg__(self) -> Jet:
        return self * -1

    def __sub__(self, other: Any) -> Jet:
        return self + (-other)

    def __rsub__(self, other: Any) -> Jet:
        return -self + other

    def __truediv__(self, other: Any) -> Jet:
        return self * (inverse(other) if isinstance(other, Jet) else 1 / mp.mpf(other))

    def __rtruediv__(self, other: Any) -> Jet:
        return inverse(self) * other

    __radd__, __rmul__ = __add__, __mul__


def variables(*values: Any) -> list[Jet]:
    """One or two numbers as the variables by which is derived."""
    return [Jet({(0, 0): x, (1 - k, k): mp.mpf(1)}) for k, x in enumerate(values)]


def composed(x: Jet, derivatives: Sequence[Any]) -> Jet:
    """A function of x, of which the value and three derivatives at ``x.value`` are given."""
    step = Jet({k: v for k, v in x.c.items() if k != (0, 0)})
    result, power = step * derivatives[1] + derivatives[0], step
    for k in range(2, ORDER + 1):
        power = power * step
        result = result + power * (derivatives[k] / math.factorial(k))
    return result


def function(derivatives: Callable[[Any], Sequence[Any]]) -> Callable[[Jet], Jet]:
    """A function of jets from one that gives the value and three derivatives at a number."""
    return lambda x: composed(x, derivatives(x.value))


@function
def inverse(x: Any) -> Sequence[Any]:
    y = 1 / x
    return y, -y * y, 2 * y * y * y, -6 * y * y * y * y


@function
def exp(x: Any) -> Sequence[Any]:
    return (mpmath.exp(x),) * 4


@function
def expm1(x: Any) -> Sequence[Any]:
    return mpmath.expm1(x), *(mpmath.exp(x),) * 3


@function
def log(x: Any) -> Sequence[Any]:
    y = 1 / x
    return mpmath.log(x), y, -y * y, 2 * y * y * y


@function
def log1p(x: Any) -> Sequence[Any]:
    y = 1 / (1 + x)
    return mpmath.log1p(x), y, -y * y, 2 * y * y * y


@function
def sin(x: Any) -> Sequence[Any]:
    s, c = mpmath.sin(x), mpmath.cos(x)
    return s, c, -s, -c


@function
def cos(x: Any) -> Sequence[Any]:
    s, c = mpmath.sin(x), mpmath.cos(x)
    return c, -s, -c, s


@function
def tan(x: Any) -> Sequence[Any]:
    t = mpmath.tan(x)
    d = 1 + t * t
    return t, d, 2 * t * d, 2 * d * (d + 2 * t * t)


@function
def sinh(x: Any) -> Sequence[Any]:
    s, c = mpmath.sinh(x), mpmath.cosh(x)
    return s, c, s, c


@function
def cosh(x: Any) -> Sequence[Any]:
    s, c = mpmath.sinh(x), mpmath.cosh(x)
    return c, s, c, s


@function
def tanh(x: Any) -> Sequence[Any]:
    t, d = mpmath.tanh(x), 1 / mpmath.cosh(x) ** 2
    return t, d, -2 * t * d, 2 * d * (2 * t * t - d)


def logistic_derivatives(x: Any) -> Sequence[Any]:
    y, rest = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
    d = y * rest
    difference = -mpmath.tanh(x / 2)  # rest - y
    return y, d, d * difference, d * (difference * difference - 2 * d)


logistic = function(logistic_derivatives)


@function
def softplus(x: Any) -> Sequence[Any]:
    y, d, d2, _ = logistic_derivatives(x)
    return mpmath.log1p(mpmath.exp(x)), y, d, d2


@function
def arcsin(x: Any) -> Sequence[Any]:
    r = 1 / mpmath.sqrt((1 - x) * (1 + x))
    return mpmath.asin(x), r, x * r**3, (1 + 2 * x * x) * r**5


@function
def arctan(x: Any) -> Sequence[Any]:
    q = 1 / (1 + x * x)
    return mpmath.atan(x), q, -2 * x * q * q, (6 * x * x - 2) * q**3


@function
def arcsinh(x: Any) -> Sequence[Any]:
    r = 1 / mpmath.sqrt(1 + x * x)
    return mpmath.asinh(x), r, -x * r**3, (2 * x * x - 1) * r**5


@function
def arccosh(x: Any) -> Sequence[Any]:
    r = 1 / mpmath.sqrt((x - 1) * (x + 1))
    return mpmath.acosh(x), r, -x * r**3, (2 * x * x + 1) * r**5


@function
def arctanh(x: Any) -> Sequence[Any]:
    q = 1 / ((1 - x) * (1 + x))
    return mpmath.atanh(x), q, 2 * x * q * q, (6 * x * x + 2) * q**3


@function
def erf(x: Any) -> Sequence[Any]:
    d = 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x)
    return mpmath.erf(x) if abs(x) < 1000 else mpmath.sign(x), d, -2 * x * d, (4 * x * x - 2) * d


@function
def erfc(x: Any) -> Sequence[Any]:
    d = -2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x)
    y = (
        mpmath.erfc(x) if abs(x) < 1000 else -d / (2 * x) if x > 0 else 2
    )  # far out, the first term of the tail's series
    return y, d, -2 * x * d, (4 * x * x - 2) * d


@function
def erfinv(x: Any) -> Sequence[Any]:
    with mp.workprec(120):
        y = mpmath.erfinv(x)
    d = mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(y * y)
    return y, d, 2 * y * d * d, d**3 * (2 + 8 * y * y)


def power(x: Jet, n: Any) -> Jet:
    """A positive number to a constant power, or any number to a whole one."""

    def derivatives(v: Any) -> Sequence[Any]:
        factors = [mp.mpf(1), n, n * (n - 1), n * (n - 1) * (n - 2)]
        return [f * v ** (n - k) if f else mp.mpf(0) for k, f in enumerate(factors)]

    return composed(x, derivatives(x.value))


def sqrt(x: Jet) -> Jet:
    return power(x, mp.mpf(1) / 2)
