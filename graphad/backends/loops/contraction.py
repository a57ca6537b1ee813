"""Fused multiply-adds: a product and the sum that reads it become one operation, rounded once.

Which product a sum takes is decided here, once for all targets, from what the sum is computed of, and never from what
else reads a value: the same statements give the same bits, whatever stands beside them. (Where a sum has two products
to choose from, it matters when their factors arrive: who computes part of a loop once more copies what was chosen.)

- A sum of f32 or f64 takes a product among its operands that is computed in the same body. A product outside of the
  loop stays there.
- Of two products, the sum takes the one with which it arrives first, by the latencies of its operators: as a rule the
  one whose factors come late. In a loop with ``last`` carries, whose iterations wait for each other, times count from
  these carries (until they repeat from one iteration to the next), and all else is there long before. There a sum that
  arrives sooner without taking a product takes none: a running sum of products waits for an addition alone. Elsewhere
  a sum always takes one, which saves an operation.
- A product that the other operand was computed from is not taken: it is there before that operand, so nothing would be
  gained, and ``t - floor(t)`` is about the rounded ``t``.
- A product that others read as well is computed for them as it was.

``sum`` carries take products as a ``factor``.

Examples
--------
>>> from graphad.backends.loops.ir import Index
>>> from graphad.backends.loops.text import format_simple
>>> from graphad.ir.types import f64
>>> load = Load("x", "x", Index()), Load("y", "x", Index(1))
>>> lets = Let("t0", f64, "mul", ("x", "y")), Let("t1", f64, "sub", ("x", "t0"))
>>> nest = LoopNest((*load, *lets, Store("z", Index(), "t1")))
>>> for s in contracted(nest).body:
...     print(format_simple(s))
x = x[0]
y = x[1]
neg0: f64 = neg(x)
t1: f64 = fma(neg0, y, x)
z[0] = t1
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import inf
from typing import Final

from graphad.backends.loops.ir import (
    Carry,
    Let,
    Load,
    Loop,
    LoopNest,
    Operand,
    Position,
    Statement,
    Store,
    While,
    is_fusible,
)
from graphad.backends.loops.rewrites import Names, defined, names_of, used
from graphad.backends.loops.visit import walk
from graphad.ir.lowering import ELEMENTARY
from graphad.ir.types import Literal, literal

#: Cycles until the result of an operator arrives; of those not listed, 1.
_LATENCIES: Final[Mapping[str, int]] = {
    **dict.fromkeys(ELEMENTARY, 40), "add": 3, "sub": 3, "mul": 3, "fma": 4, "div": 13, "sqrt": 21,
}  # fmt: skip
#: So many iterations are gone through to find the times at which carries arrive.
_ITERATIONS: Final = 8


def contracted(nest: LoopNest) -> LoopNest:
    """``nest`` with fused multiply-adds."""
    reads = _reads(nest.body)
    arrivals = _Arrivals(0.0, {}, reads)
    arrivals.go(nest.body)
    writer = _Writer(arrivals.taken, reads, nest.body)
    body = writer.body(nest.body)
    return replace(nest, body=body) if writer.fused else nest


def _reads(body: Iterable[Statement]) -> Counter[Operand | None]:
    """How often each value is read."""
    reads: list[Operand | None] = []
    for s in walk(body):
        match s:
            case Let():
                reads += s.args
            case Load():
                reads.append(s.dynamic)
            case Store():
                reads += s.value, s.dynamic, s.mask
            case Loop() | While():
                for c in s.carries:
                    reads += c.init, *c.reads
            case Position():
                pass
    return Counter(reads)


def _products(body: Iterable[Statement]) -> dict[Operand, Let]:
    """Those that a sum in the same body can take, by name."""
    return {s.name: s for s in body if isinstance(s, Let) and s.op == "mul" and is_fusible(s.dtype)}


# ---------------------------------------------------------------------------------------------------------------------
# The decision


class _Arrivals:
    """When values arrive, and which product each sum takes.

    Parameters
    ----------
    start
        When all that is defined elsewhere arrives: 0, or for the body of a loop whose iterations wait for each other
        long before.
    taken
        Filled in: for the name of a sum, the number of the operand that is the product that it takes.
    reads
        How often each value is read.
    """

    def __init__(self, start: float, taken: dict[str, int], reads: Mapping[Operand | None, int]) -> None:
        self.start = start
        self.taken = taken
        self.reads = reads
        self.times: dict[str, float] = {}

    def of(self, operands: Iterable[Operand]) -> float:
        """When the last of ``operands`` arrives."""
        return max([self.times.get(o, self.start) for o in operands if type(o) is str], default=self.start)

    def go(self, body: Sequence[Statement]) -> None:
        """Go through a body once."""
        products = _products(body)
        # Nothing that is added to a product was made of it, if the sum is all that reads it.
        several = [name for name in products if self.reads[name] > 1]
        bits = {name: 1 << k for k, name in enumerate(several)}
        origins: dict[Operand, int] = {}  # those of these products that a value was computed from, as bits
        for s in body:
            if type(s) is Store:
                continue
            reads = s.args if type(s) is Let else used((s,))
            origin = 0
            for name in reads:
                origin |= origins.get(name, 0)
            if type(s) is Let:
                is_sum = (s.op == "add" or s.op == "sub") and not products.keys().isdisjoint(reads)
                time = self.sum(s, products, bits, origins) if is_sum else self.plain(s)
                self.times[s.name] = time
                origin |= bits.get(s.name, 0)
                if origin:
                    origins[s.name] = origin
                continue
            if isinstance(s, (Loop, While)):
                self.loop(s)
            elif isinstance(s, (Load, Position)):
                self.times[s.name] = self.of(reads)
            if origin:
                origins.update(dict.fromkeys(defined(s), origin))

    def plain(self, s: Let) -> float:
        """When the result of an operator arrives."""
        latest, times, start = self.start, self.times, self.start
        for a in s.args:
            if type(a) is str and times.get(a, start) > latest:
                latest = times[a]
        return latest + _LATENCIES.get(s.op, 1)

    def sum(
        self, s: Let, products: Mapping[Operand, Let], bits: Mapping[Operand, int], origins: Mapping[Operand, int]
    ) -> float:
        """When ``s``, which reads a product, arrives with the product with which that is first."""
        time = plain = self.plain(s)
        first = inf
        self.taken.pop(s.name, None)
        for k, (name, other) in enumerate(_sides(s)):
            if name not in products or bits.get(name, 0) & origins.get(other, 0):
                continue
            fused = self.of((*products[name].args, other)) + _LATENCIES["fma"]
            if fused < first and (fused <= plain or self.start == 0):
                time = first = fused
                self.taken[s.name] = k
        return time

    def loop(self, loop: Loop | While) -> None:
        """Note when the carries of a loop arrive."""
        waiting = [c for c in loop.carries if c.combine == "last"]
        if waiting:
            begin = self.of(used((loop,)))
            turns = loop.extent if type(loop) is Loop else 1  # of a loop that ends when it is done, nobody knows
            end = begin + turns * self.iterate(loop, waiting)
            self.times.update(dict.fromkeys([c.name for c in loop.carries], end))
            return
        self.go(loop.body)
        for c in loop.carries:
            self.times[c.name] = self.of((c.init, *c.reads)) + _LATENCIES["add"]

    def iterate(self, loop: Loop | While, waiting: Sequence[Carry]) -> float:
        """Go through iterations that wait for each other until the times repeat; the cycles that each then takes."""
        times, cycles = dict.fromkeys([c.name for c in waiting], 0.0), 0.0
        for _ in range(_ITERATIONS):
            inside = _Arrivals(-inf, self.taken, self.reads)
            inside.times |= times
            inside.go(loop.body)
            latest = inside.of([c.update for c in waiting])
            if latest == -inf:  # none of them waits
                break
            cycles, following = latest, {c.name: inside.of((c.update,)) - latest for c in waiting}
            if following == times:
                break
            times = following
        return cycles


def _sides(s: Let) -> tuple[tuple[Operand, Operand], ...]:
    """Each operand of a sum, with the other one."""
    a, b = s.args
    return (a, b), (b, a)


# ---------------------------------------------------------------------------------------------------------------------
# The statements


class _Writer:
    """Writes bodies anew, with the products that their sums have ``taken``, and without those that nothing reads then.

    ``reads`` counts down; ``fused`` says whether anything was taken.
    """

    def __init__(self, taken: Mapping[str, int], reads: Counter[Operand | None], nest: Sequence[Statement]) -> None:
        self.taken = taken
        self.reads = reads
        self.nest = nest
        self.fused = False

    @cached_property
    def names(self) -> Names:
        """New names."""
        return Names(names_of(self.nest))

    def body(self, body: Sequence[Statement]) -> tuple[Statement, ...]:
        products = _products(body)
        out: list[Statement] = []
        for s in body:
            if type(s) is Let and s.name in self.taken:
                out += self.sum(s, products)
            else:
                out.append(self.loop(s) if isinstance(s, (Loop, While)) else s)
        unread = {name for name in products if not self.reads[name]}
        return tuple([s for s in out if type(s) is not Let or s.name not in unread])

    def product(self, name: Operand, products: Mapping[Operand, Let]) -> tuple[Operand, ...]:
        """The factors of a product that is taken."""
        self.fused = True
        self.reads[name] -= 1
        return products[name].args

    def sum(self, s: Let, products: Mapping[Operand, Let]) -> list[Let]:
        """A sum as ``fma``; what is subtracted is negated before, which no machine has to do apart."""
        (name, other), is_second = _sides(s)[self.taken[s.name]], self.taken[s.name] == 1
        a, b = self.product(name, products)
        before: list[Let] = []
        if s.op == "sub" and is_second:
            a, b = (b, a) if isinstance(b, Literal) else (a, b)
            a = self.negated(a, s, before)
        elif s.op == "sub":
            other = self.negated(other, s, before)
        return [*before, Let(s.name, s.dtype, "fma", (a, b, other), s.loc)]

    def negated(self, value: Operand, s: Let, before: list[Let]) -> Operand:
        if isinstance(value, Literal):
            return literal(-value.item(), value.dtype)
        name = self.names.fresh("neg")
        before.append(Let(name, s.dtype, "neg", (value,), s.loc))
        return name

    def loop(self, loop: Loop | While) -> Loop | While:
        products = _products(loop.body)
        carries = tuple([self.carry(c, products) for c in loop.carries])
        return replace(loop, body=self.body(loop.body), carries=carries)

    def carry(self, c: Carry, products: Mapping[Operand, Let]) -> Carry:
        if c.combine != "sum" or c.update not in products:
            return c
        update, factor = self.product(c.update, products)
        return replace(c, update=update, factor=factor)
