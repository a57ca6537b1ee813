"""Reductions in LLVM text: identities, masks, horizontal reduction of lanes, blocked sums."""

from __future__ import annotations

from collections.abc import Sequence

from graphad.backends.llvm.scalar import Scalars
from graphad.backends.llvm.text import Code, constant, element_type, lanes_of, register_type
from graphad.backends.loops.ir import Carry
from graphad.ir.types import DType, b1

#: Float sums of more rounds than this are blocked into chunks of about the square root, so that their rounding error
#: grows with the square root of the length only.
PLAIN_ROUNDS = 128


def chunk_size(carries: Sequence[Carry], rounds: int) -> int | None:
    """Rounds in a chunk of a long float sum (a power of two), or None where none is carried."""
    if rounds <= PLAIN_ROUNDS or not any(_chunked(c) for c in carries):
        return None
    return 1 << (rounds.bit_length() // 2)


def _chunked(c: Carry) -> bool:
    return c.combine == "sum" and c.dtype.is_float


class Accumulators:
    """Emits the initialisation, masking and combination of carries around the body of a loop."""

    def __init__(self, code: Code, scalars: Scalars) -> None:
        self.code = code
        self.scalars = scalars
        self._factors: dict[str, tuple[str, str]] = {}  # of sums of one round: products to which nothing is added yet

    def identity(self, c: Carry, lanes: int) -> str:
        """The identity of the combination; -0.0 for sums, as 0.0 would turn a sum of -0.0 into 0.0."""
        dtype = c.dtype
        match c.combine:
            case "sum":
                return constant(-0.0 if dtype.is_float else 0, dtype, lanes)
            case "prod":
                return constant(1, dtype, lanes)
            case "max":
                return constant(_least(dtype), dtype, lanes)
            case "min":
                return constant(_greatest(dtype), dtype, lanes)
            case "and":
                return constant(True if dtype is b1 else -1, dtype, lanes)
            case _:
                return constant(0, dtype, lanes)

    def following(self, c: Carry, running: str, values: Sequence[str], lanes: int, live: str | None) -> str:
        """The next value of a carry that is reordered; ``values`` are what it reads.

        Where ``live``, a mask of so many lanes, does not hold it stays as it is.
        """
        first = running == self.identity(c, lanes)
        if c.factor is None:
            update = values[0] if live is None else self._where(live, c, values[0], self.identity(c, lanes), lanes)
            return update if first else self.scalars.combine(c.combine, c.dtype, lanes, update, running)
        if first:
            total = self.scalars.combine("prod", c.dtype, lanes, values[0], values[1])
            self._factors[total] = values[0], values[1]
        else:
            total = self.scalars.fused(c.dtype, lanes, values[0], values[1], running, c.combine)
        return total if live is None else self._where(live, c, total, running, lanes)

    def _where(self, live: str, c: Carry, text: str, otherwise: str, lanes: int) -> str:
        kind = register_type(c.dtype, lanes)
        return self.code.let(f"select {lanes_of('i1', lanes)} {live}, {kind} {text}, {kind} {otherwise}", "live")

    def narrow(self, c: Carry, text: str, lanes: int, to: int) -> str:
        """Combine halves of a vector of accumulators until ``to`` lanes are left."""
        while lanes > to:
            half = lanes // 2
            factors = self._factors.get(text)
            if factors is None or half * c.dtype.bits < 8 * self.scalars.native:
                low, high = self._halves(c.dtype, text, lanes)
                text = self.scalars.combine(c.combine, c.dtype, half, high, low)
            else:  # the halves are registers of their own
                a, b = (self._halves(c.dtype, factor, lanes) for factor in factors)
                low = self.scalars.combine("prod", c.dtype, half, a[0], b[0])
                text = self.scalars.fused(c.dtype, half, a[1], b[1], low, c.combine)
            lanes = half
        return text

    def _halves(self, dtype: DType, text: str, lanes: int) -> tuple[str, str]:
        element, half = element_type(dtype), lanes // 2
        if half == 1:
            low, high = (self.code.let(f"extractelement <2 x {element}> {text}, i64 {k}", "lane") for k in (0, 1))
            return low, high
        low, high = (self.code.shuffle(text, element, lanes, list(range(k, k + half))) for k in (0, half))
        return low, high

    def restart(self, c: Carry, text: str, lanes: int) -> str:
        """The initial values of a chunk: sums start from the identity, the others continue."""
        return self.identity(c, lanes) if _chunked(c) else text

    def resume(self, c: Carry, part: str, before: str, lanes: int) -> str:
        """The running value after a chunk."""
        return self.scalars.combine(c.combine, c.dtype, lanes, part, before) if _chunked(c) else part


def _least(dtype: DType) -> float | int | bool:
    if dtype.is_float:
        return float("-inf")
    return -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0


def _greatest(dtype: DType) -> float | int | bool:
    if dtype.is_float:
        return float("inf")
    if dtype is b1:
        return True
    return (1 << (dtype.bits - 1)) - 1 if dtype.kind == "i" else (1 << dtype.bits) - 1
