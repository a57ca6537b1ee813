"""The associative operator of a scan, in LLVM text: on single values, or on pairs for a linear recurrence.

A *part* represents the map that some consecutive points apply to the running value. Composition of parts is
associative, so the threads of a group can combine theirs in any grouping. A linear recurrence over some points maps
``running`` to ``decay * running + value``: their part is the pair ``decay, value``.
"""

from __future__ import annotations

import ml_dtypes

from graphad.backends.cuda.program.ir import Scan
from graphad.backends.cuda.program.scans import scan_steps
from graphad.backends.cuda.ptx.scalar import DeviceScalars
from graphad.backends.llvm.reduce import Accumulators
from graphad.backends.llvm.scalar import operand_text
from graphad.backends.llvm.text import Code, Val, constant, element_type, float_text
from graphad.backends.loops.ir import Carry, is_fusible
from graphad.backends.lower.scalars import identity_of

Part = tuple[str, ...]


class ScanParts:
    """Emits operations on parts of ``scan`` into ``code``; all values are scalars."""

    def __init__(self, code: Code, scalars: DeviceScalars, scan: Scan) -> None:
        self.code = code
        self.scalars = scalars
        self.scan = scan
        self.dtype = scan.dtype
        self.is_linear = scan.decay is not None

    def of_point(self, value: str, decay: str | None) -> Part:
        """The part of a single point.

        An infinite decay, which makes nan of 0, is moved into the value: nan for all that follows.
        """
        if decay is None or not self.dtype.is_float:
            return (value,) if decay is None else (decay, value)
        return self._bounded(decay), self._multiply_add(decay, constant(0.0, self.dtype, 1), value)

    def of_none(self) -> Part:
        """The part of no points: the identity."""
        zero, one = (constant(x, self.dtype, 1) for x in (-0.0 if self.dtype.is_float else 0, 1))
        s = self.scan
        if s.combine == "linear":
            return one, zero
        if s.combine == "logsumexp":
            return (constant(identity_of(s.combine, s.dtype).item(), s.dtype, 1),)
        accumulators = Accumulators(self.code, self.scalars)
        return (accumulators.identity(Carry(s.exclusive, s.dtype, s.combine, s.init, s.value), 1),)

    def joined(self, later: Part, earlier: Part) -> Part:
        """The composition of two parts."""
        if not self.is_linear:
            return (self.applied(later, earlier[0]),)
        return self._bounded(self._mul(later[0], earlier[0])), self.applied(later, earlier[1])

    def applied(self, part: Part, running: str) -> str:
        """The running value after the points of ``part``."""
        if self.is_linear:
            return self._multiply_add(part[0], running, part[1])
        return self.step(running, part[0], None)

    def step(self, running: str, value: str, decay: str | None) -> str:
        """The running value after one more point."""
        s = self.scan
        if s.combine not in ("linear", "logsumexp"):
            return self.scalars.combine(s.combine, s.dtype, 1, value, running)
        values = {"running": Val(running, s.dtype, 1), "value": Val(value, s.dtype, 1)}
        if decay is not None:
            values["decay"] = Val(decay, s.dtype, 1)
        steps = scan_steps(s.combine, "upto", s.dtype, "running", "value", None if decay is None else "decay", s.loc)
        for let in steps:
            args = [values[a] if isinstance(a, str) else operand_text(a, 1) for a in let.args]
            literals = [None if isinstance(a, str) else a for a in let.args]
            values[let.name] = self.scalars.operator(let, args, literals, 1)
        return values[steps[-1].name].text

    def _mul(self, a: str, b: str) -> str:
        return self.scalars.combine("prod", self.dtype, 1, a, b)

    def _multiply_add(self, a: str, b: str, c: str) -> str:
        if is_fusible(self.dtype):
            return self.scalars.fused(self.dtype, 1, a, b, c, "sum")
        return self.scalars.combine("sum", self.dtype, 1, c, self._mul(a, b))

    def _bounded(self, decay: str) -> str:
        """A finite decay: a product that overflows must not make nan of a running value of 0."""
        if not self.dtype.is_float:
            return decay
        kind, most = element_type(self.dtype), float(ml_dtypes.finfo(self.dtype.numpy).max)
        for name, bound in (("minnum", most), ("maxnum", -most)):
            args = [(kind, decay), (kind, float_text(bound, self.dtype))]
            decay = self.code.call(f"llvm.{name}.{'f64' if kind == 'double' else 'f32'}", kind, args, "bounded")
        return decay
