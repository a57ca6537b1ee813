"""Messages about faults and origins: the user's line first, then the equation and the numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from graphad.check.equations import Fault
from graphad.check.origin import Index, Origin
from graphad.errors import at
from graphad.ir.graph import Eqn
from graphad.ir.loc import Loc, line_text, transforms_of, user_line

NDArray = np.ndarray[Any, Any]

_FEW: Final = 6  # numbers that are shown as they are


def origin_text(origin: Origin, what: str) -> str:
    """``what`` ("result 0 of f") is nan or infinite: who made it so, and out of what."""
    value = number(origin.value)
    eqn = origin.eqn
    if eqn is None:
        if origin.input is None:
            return f"{what} is {value}: it is a constant of the program."
        return f"{what} is {value}: input {origin.input}{element(origin.place)} is {value} already."
    message = f"{what} is {value}. {equation(eqn, origin.loc)} makes it of {operands(origin)}:{quoted(origin.loc)}"
    if origin.cause is not None:
        message += f"{_cause_text(origin.cause)} "
    return at(user_line(origin.loc), f"{message}Keep this expression away from where it is not finite.")


def _cause_text(cause: Origin) -> str:
    value = number(cause.value)
    if cause.eqn is None:
        holder = "a constant" if cause.input is None else f"held by input {cause.input}{element(cause.place)} already"
        return f"The {value} is {holder}."
    text = at(user_line(cause.loc), f"the {value} is made by {equation(cause.eqn, cause.loc)} of {operands(cause)}.")
    return f"{text} {_cause_text(cause.cause)}" if cause.cause is not None else text


def equation(eqn: Eqn, loc: Loc) -> str:
    """``mul``, or ``mul, in the adjoint of this line,`` of what transforms have made of a line."""
    name = eqn.primitive.name
    transforms = transforms_of(loc)
    if "transpose" in transforms:
        return f"{name}, in the adjoint of this line,"
    return f"{name}, in the derivative of this line," if "jvp" in transforms else name


def operands(origin: Origin) -> str:
    """The operands of the equation: those of one element where it works element by element."""
    assert origin.eqn is not None, "an input or a constant has no operands"
    if origin.eqn.primitive.elementwise:
        shown = [number(x[origin.place] if x.ndim else x) for x in origin.operands]
    else:
        shown = [array_text(x) for x in origin.operands]
    return listed(shown)


def listed(texts: list[str]) -> str:
    """``a, b and c``."""
    *head, last = texts or ["nothing"]
    return f"{', '.join(head)} and {last}" if head else last


def array_text(x: NDArray) -> str:
    """A few numbers as they are, of many the type and the range."""
    if x.size == 1:
        return number(x.reshape(()))
    if x.size <= _FEW:
        return str([number(v) for v in x.ravel()]).replace("'", "") if x.ndim == 1 else str(x.tolist())
    shape = f"{x.dtype}[{','.join(map(str, x.shape))}]"
    wide = x.astype(np.float64)
    ordinary = wide[np.isfinite(wide)]
    kinds = [*["nan"] * bool(np.isnan(wide).any()), *["inf"] * bool((wide == np.inf).any())]
    kinds += ["-inf"] * bool((wide == -np.inf).any())
    span = f"from {number(ordinary.min())} to {number(ordinary.max())}" if ordinary.size else ""
    return f"{shape} {' and '.join([s for s in (span, *kinds) if s])}"


def number(x: Any) -> str:
    """A number with the digits that tell it from its neighbours."""
    value = np.asarray(x)
    if value.dtype.kind in "biu":
        return str(value.item())
    return str(value.item()) if value.dtype == np.float64 else str(np.float32(value))


def element(index: Index) -> str:
    """``at [2, 0]`` with a space before it, or nothing for a scalar."""
    return f" at [{', '.join(map(str, index))}]" if index else ""


def quoted(loc: Loc) -> str:
    """The user's line of source, indented on a line of its own."""
    line = line_text(loc)
    return f"\n    {line}\n" if line else " "


def fault_text(fault: Fault) -> str:
    """One paragraph: the line, the rule, the operand and the two numbers."""
    eqn = fault.eqn
    ordinal = {1: "", 2: "second ", 3: "third "}.get(fault.order, f"{fault.order}th ")
    name = rule_name(eqn)
    of = f" of operand {fault.operand}" if fault.operand is not None else ""
    met = f"It meets {listed([array_text(x) for x in fault.operands])}."
    there = element(fault.place)
    numbers = f"{fault.found:.6g} where {fault.expected:.6g} is right"
    match fault.rule:
        case "derivative":
            what = (
                f"the {ordinal}derivative of {name} is wrong: along a random direction{of} its result changes{there} by"
            )
            numbers = f"{fault.found:.6g}, by differences of its values by {fault.expected:.6g}"
        case "transpose":
            within = f", in the {ordinal}derivative of {rule_name(fault.within)}," if fault.within is not None else ""
            what = f"the transpose of {name}{within} is wrong: the cotangent{of}{there} is"
        case "backward":
            what = f"the {ordinal}backward rule of {name} is wrong: the cotangent{of}{there} is"
        case _:
            what = f"the batching rule of {name} is wrong: with a batch axis{of} the element{there} of its result is"
    return at(user_line(fault.loc), f"{what} {numbers}:{quoted(fault.loc)}{met}")


def doubt_text(fault: Fault) -> str:
    """One sentence on a derivative that differences do not decide."""
    name = rule_name(fault.eqn)
    return at(
        user_line(fault.loc),
        f"{name} is at a kink or at the edge of its domain, where differences of its values say nothing of its "
        f"derivative. It meets {listed([array_text(x) for x in fault.operands])}.",
    )


def rule_name(eqn: Eqn) -> str:
    """``sin``; of a custom derivative the name of the user's function."""
    rule = getattr(eqn.params[0], "rule_name", None) if eqn.params else None
    return eqn.primitive.name if rule is None else f"{rule} ({eqn.primitive.name})"
