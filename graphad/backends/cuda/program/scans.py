"""Recognition of scans: loops that carry a running combination (a cumulative sum, a linear recurrence)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from graphad.backends.cuda.program.ir import ScanCombine
from graphad.backends.loops.ir import Carry, Combine, Let, Loop, Operand, Statement, is_fusible
from graphad.backends.loops.rewrites import defined, needed, used
from graphad.backends.lower.scalars import SCAN_STEPS, Template, template
from graphad.ir.loc import Loc
from graphad.ir.lowering import parse_scalar
from graphad.ir.types import DType, Literal

#: Associative operators (of floats, up to rounding).
ASSOCIATIVE: Final[dict[str, Combine]] = {
    "add": "sum", "mul": "prod", "maximum": "max", "minimum": "min", "and": "and", "or": "or",
}  # fmt: skip
_OPERATORS: Final = {combine: op for op, combine in ASSOCIATIVE.items()}
#: Combinations of more than one operator, and how many operands their steps have, the running value included.
_LONGER: Final[dict[ScanCombine, int]] = {"linear": 3, "logsumexp": 2}
#: The step of a linear recurrence after `loops.contraction`.
_FUSED_LINEAR: Final = parse_scalar("fma({1}, {0}, {2})")


@dataclass(frozen=True, slots=True)
class ScanCarry:
    """``steps``: the carry combined with ``value`` (and ``decay``), which do not depend on it."""

    carry: Carry
    steps: tuple[Let, ...]
    combine: ScanCombine
    value: Operand
    decay: Operand | None = None

    @property
    def inclusive(self) -> str:
        """The name of the combination with ``value``."""
        return self.steps[-1].name

    @property
    def operands(self) -> list[str]:
        """The names of what is combined."""
        return [o for o in (self.value, self.decay) if isinstance(o, str)]

    @property
    def loc(self) -> Loc:
        """The location of the combination."""
        return self.steps[-1].loc


def scan_steps(
    combine: ScanCombine, name: str, dtype: DType, running: Operand, value: Operand, decay: Operand | None, loc: Loc
) -> tuple[Let, ...]:
    """``name``: the running value combined with the next one."""
    if combine in _OPERATORS:
        return (Let(name, dtype, _OPERATORS[combine], (running, value), loc),)
    operands = [running, value] if decay is None else [running, decay, value]
    instructions = _template(combine, dtype).instructions
    names = [*[f"{name}_step{k}" for k in range(len(instructions) - 1)], name]
    lets: list[Let] = []
    for own, i in zip(names, instructions, strict=True):
        args = tuple([a if isinstance(a, Literal) else operands[a] if a >= 0 else names[~a] for a in i.args])
        lets.append(Let(own, i.dtype, i.op, args, loc))
    return tuple(lets)


def scan_of(loop: Loop) -> ScanCarry | None:
    """The scan of ``loop``: its only carry in which order matters, if that is a running combination; else None."""
    ordered = [c for c in loop.carries if c.combine == "last"]
    if len(ordered) != 1 or not isinstance(ordered[0].update, str):
        return None
    (carry,) = ordered
    scan = _of_one_operator(carry, loop.body)
    for combine in _LONGER:
        scan = scan or _of_several(carry, loop.body, combine)
    if scan is None:
        return None
    names, before = scan.operands, needed(scan.operands, loop.body)
    if {carry.name, scan.inclusive} & ({*names} | used(before)):
        return None
    within = {name for s in before for name in defined(s)}
    return None if names and within.isdisjoint(names) else scan  # loop-invariant operands are no scan


def _of_one_operator(carry: Carry, body: Iterable[Statement]) -> ScanCarry | None:
    let = next((s for s in body if isinstance(s, Let) and s.name == carry.update), None)
    if let is None or let.op not in ASSOCIATIVE or carry.name not in let.args or let.dtype is not carry.dtype:
        return None
    value = next((a for a in let.args if a != carry.name), carry.name)
    return ScanCarry(carry, (let,), ASSOCIATIVE[let.op], value)


def _of_several(carry: Carry, body: Sequence[Statement], combine: ScanCombine) -> ScanCarry | None:
    """A match of the statements to those that lowering writes for one step of ``combine``."""
    lets = {s.name: s for s in body if isinstance(s, Let)}
    pattern = _template(combine, carry.dtype)
    operands: dict[int, Operand] = {0: carry.name}
    found: dict[int, Let] = {}
    assert isinstance(pattern.result, int), "the result depends on the operands"
    if not _matches(pattern, pattern.result, carry.update, lets, operands, found):
        return None
    steps = tuple([found[k] for k in range(len(pattern.instructions))])
    decay = operands[1] if combine == "linear" else None
    return ScanCarry(carry, steps, combine, operands[_LONGER[combine] - 1], decay)


def _matches(
    pattern: Template,
    wanted: int | Literal,
    value: Operand,
    lets: Mapping[str, Let],
    operands: dict[int, Operand],
    found: dict[int, Let],
) -> bool:
    """Whether ``value`` matches the pattern ``wanted``; fills in the operands and statements that it binds."""
    if isinstance(wanted, Literal):
        return value is wanted
    if wanted >= 0:
        return operands.setdefault(wanted, value) == value
    instruction, let = pattern.instructions[~wanted], lets.get(value) if isinstance(value, str) else None
    if let is None or (let.op, let.dtype, len(let.args)) != (instruction.op, instruction.dtype, len(instruction.args)):
        return False
    if found.setdefault(~wanted, let) is not let:
        return False
    return all(_matches(pattern, w, a, lets, operands, found) for w, a in zip(instruction.args, let.args, strict=True))


def _template(combine: ScanCombine, dtype: DType) -> Template:
    """What lowering for a device makes of a step."""
    step = _FUSED_LINEAR if combine == "linear" and is_fusible(dtype) else SCAN_STEPS[combine]
    return template(step, (dtype,) * _LONGER[combine], dtype)
