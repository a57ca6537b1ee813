"""The libraries that run a random program with loops: those of `tests.generator.spaces`, with loops and branches.

`Unrolled` has the loops of Python in place of graphad's, so that a program is traced turn by turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import graphad
from graphad import lax
from tests.generator.spaces import Graphad, Jax, Reference, Space

Function = Callable[..., Any]


class _InPython(Space):
    """Loops and branches as Python has them."""

    integer = staticmethod(np.int32)

    def scan(self, f: Function, carry: Any, xs: Any, length: int | None, reverse: bool) -> tuple[Any, Any]:
        leaves = graphad.tree.leaves(xs)
        n = len(leaves[0]) if leaves else length
        assert n is not None
        if not n:
            _, y = f(carry, graphad.tree.map(lambda x: self.zeros(x.shape[1:], x.dtype), xs))
            return carry, graphad.tree.map(lambda x: self.zeros((0, *np.shape(x)), x.dtype), y)
        ys: list[Any] = [None] * n
        for t in reversed(range(n)) if reverse else range(n):
            carry, ys[t] = f(carry, graphad.tree.map(lambda x, t=t: x[t], xs))
        return carry, graphad.tree.map(lambda *rows: self.stack(rows), *ys)

    def map(self, f: Function, xs: Any, _batch_size: int | None) -> Any:
        return self.scan(lambda _, x: (None, f(x)), None, xs, None, False)[1]

    def associative_scan(self, f: Function, xs: Any, reverse: bool) -> Any:
        n = len(graphad.tree.leaves(xs)[0])
        rows = [graphad.tree.map(lambda x, t=t: x[t], xs) for t in range(n)]
        for t in reversed(range(n - 1)) if reverse else range(1, n):
            rows[t] = f(rows[t + 1 if reverse else t - 1], rows[t])
        return graphad.tree.map(lambda *each: self.stack(each), *rows)

    def fori_loop(self, lower: Any, upper: Any, f: Function, carry: Any) -> Any:
        for i in range(int(lower), int(upper)):
            carry = f(np.int32(i), carry)
        return carry

    def while_loop(self, goes_on: Function, f: Function, carry: Any) -> Any:
        while goes_on(carry):
            carry = f(carry)
        return carry

    def cond(self, chosen: Any, f: Function, g: Function, *operands: Any) -> Any:
        return f(*operands) if chosen else g(*operands)

    def switch(self, index: Any, branches: Sequence[Function], *operands: Any) -> Any:
        return branches[min(max(int(index), 0), len(branches) - 1)](*operands)


class Rolled(Graphad):
    """The loops of graphad."""

    integer = staticmethod(np.int32)
    scan, fori_loop, while_loop = staticmethod(lax.scan), staticmethod(lax.fori_loop), staticmethod(lax.while_loop)
    cond, switch, associative_scan = (
        staticmethod(lax.cond),
        staticmethod(lax.switch),
        staticmethod(lax.associative_scan),
    )

    def map(self, f: Function, xs: Any, batch_size: int | None) -> Any:
        return lax.map(f, xs, batch_size=batch_size)


class Checkpointed(Rolled):
    """The loops of graphad, of which scans store two states."""

    def scan(self, f: Function, carry: Any, xs: Any, length: int | None, reverse: bool) -> tuple[Any, Any]:
        return lax.scan(f, carry, xs, length, reverse, checkpoint=2)


class Unrolled(_InPython, Graphad):
    """graphad with the loops of Python."""


class LoopReference(_InPython, Reference):
    """NumPy in long double with the loops of Python."""


class LoopJax(Jax):
    """The loops of JAX."""

    integer = staticmethod(np.int32)
    scan, fori_loop = staticmethod(jax.lax.scan), staticmethod(jax.lax.fori_loop)
    while_loop, associative_scan = staticmethod(jax.lax.while_loop), staticmethod(jax.lax.associative_scan)
    cond, switch = staticmethod(jax.lax.cond), staticmethod(jax.lax.switch)

    def map(self, f: Function, xs: Any, batch_size: int | None) -> Any:
        return jax.lax.map(f, xs, batch_size=batch_size)
