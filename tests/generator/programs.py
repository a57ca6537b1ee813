"""Random programs: Python source that NumPy, graphad and JAX run alike.

A program grows by steps. Each picks an operation, operands among the values that there are, and parameters; it is run
at once by the reference, which gives shape and type of the result, and is dropped where NumPy refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from random import Random
from typing import Any

import numpy as np

from tests.generator.operations import GROUPS, OPERATIONS, Operation
from tests.generator.spaces import Reference

SHAPES = ((), (1,), (3,), (2, 3), (4, 4), (17,), (19,), (23,), (2, 11), (5, 1), (3, 2, 4), (0,), (70,))
MAX_SIZE = 300
#: Where ties, edges and exact arithmetic are met: integers and halves; and what is not finite.
GRID = (-3.0, -2.0, -1.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
WILD = (*GRID, np.inf, -np.inf, np.nan, 0.1, 7.25, 100.0)


@dataclass(frozen=True)
class Step:
    """One line of a program: an operation on values, by number, with its parameters written out."""

    operation: Operation
    operands: tuple[int, ...]
    parameters: tuple[tuple[str, str], ...] = ()
    smooth: bool = False

    def text(self, names: Sequence[str]) -> str:
        operation = self.operation
        operands = [names[k] for k in self.operands]
        if operation.backward:
            operands = [f"xp.shaken({x}, {operation.ulps})" for x in operands]
        if self.smooth:
            assert operation.domain is not None
            low, high = operation.domain
            operands = [
                f"(xp.shaken({x} * {0.45 * (high - low):.4g}, 2) + {(low + high) / 2:.4g})" if kind == "f" else x
                for x, kind in zip(operands, operation.kinds, strict=True)
            ]
        result = operation.text.format(*operands, **dict(self.parameters))
        if self.smooth:
            result = f"xp.tanh({result})"
        return f"xp.rounded({result}, {operation.ulps + 4 * self.smooth})"


@dataclass(frozen=True)
class Program:
    """Inputs (their arrays are the example), steps, and the values that are returned."""

    dtype: str
    arguments: tuple[np.ndarray[Any, Any], ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        n = len(self.arguments)
        return [f"x{k}" for k in range(n)] + [f"v{k}" for k in range(n, n + len(self.steps))]

    @property
    def source(self) -> str:
        """What is run, and what a report shows."""
        names, n = self.names, len(self.arguments)
        lines = [f"    {names[n + k]} = {step.text(names)}" for k, step in enumerate(self.steps)]
        results = ", ".join(names[k] for k in self.outputs)
        return "\n".join([f"def program(xp, {', '.join(names[:n])}):", *lines, f"    return ({results},)", ""])

    def function(self, space: Any) -> Callable[..., tuple[Any, ...]]:
        """The program over one library."""
        scope: dict[str, Any] = {}
        exec(compile(self.source, "<program>", "exec"), scope)
        return lambda *args: scope["program"](space, *args)

    @property
    def batches(self) -> bool:
        """Whether its operations mean the same for one element of a batch."""
        return all(s.operation.batches for s in self.steps)

    @property
    def forward(self) -> bool:
        """Whether it has forward mode."""
        return all(s.operation.forward for s in self.steps)

    def smaller(self) -> list[Program]:
        """Programs that leave out a step or an output: a report shows the smallest that still fails."""
        found = [replace(self, outputs=(k,)) for k in self.outputs] if len(self.outputs) > 1 else []
        n = len(self.arguments)
        used = {k for s in self.steps for k in s.operands}
        for k in reversed(range(len(self.steps))):
            if n + k not in used and n + k not in self.outputs:
                found.append(self._without(k))
            elif n + k in self.outputs and len(self.outputs) == 1:
                for operand in self.steps[k].operands:
                    found.append(replace(self, outputs=(operand,)))
        return found

    def _without(self, k: int) -> Program:
        gone = len(self.arguments) + k
        steps = [
            replace(s, operands=tuple(o - (o > gone) for o in s.operands)) for i, s in enumerate(self.steps) if i != k
        ]
        return replace(self, steps=tuple(steps), outputs=tuple(o - (o > gone) for o in self.outputs))


def kind_of(x: Any) -> str:
    return {"f": "f", "b": "b"}.get(np.asarray(x).dtype.kind, "i")


class _Grower:
    def __init__(self, rng: Random, dtype: str, smooth: bool, values: str) -> None:
        self.rng = rng
        self.dtype = dtype
        self.smooth = smooth
        self.numbers = np.random.default_rng(rng.getrandbits(32))
        self.space = Reference(dtype)
        self.values: list[Any] = []
        self.arguments: list[np.ndarray[Any, Any]] = []
        self.steps: list[Step] = []
        shapes = rng.sample(SHAPES, 2)
        for kind in ("f", "f", *(() if smooth else ("i",))):
            self._input(kind, rng.choice(shapes), values)

    def _input(self, kind: str, shape: tuple[int, ...], values: str) -> None:
        if kind == "i":
            x = self.numbers.integers(-4, 9, shape).astype(np.int32)
        elif values == "real":
            x = self.numbers.uniform(-1, 1, shape).astype(self.dtype)
        else:
            x = self.numbers.choice(WILD if values == "wild" else GRID, shape).astype(self.dtype)
        self.arguments.append(np.asarray(x))
        self.values.append(self.space.rounded(x, 0))

    def step(self) -> None:
        if self.smooth:
            operation = self.rng.choice([o for o in self.rng.choice(GROUPS) if o.domain is not None])
        else:
            operation = self.rng.choice(self.rng.choice(GROUPS))
        operands = self._operands(operation)
        if operands is None:
            return
        parameters = PARAMETERS[operation.fit](self.rng, [np.shape(self.values[k]) for k in operands])
        if parameters is None:
            return
        step = Step(operation, operands, tuple(parameters.items()), self.smooth)
        names = [f"v{k}" for k in range(len(self.values))]
        try:
            with np.errstate(all="ignore"):
                result = eval(step.text(names), {"xp": self.space, **dict(zip(names, self.values, strict=True))})
        except (ValueError, IndexError, TypeError, ZeroDivisionError):
            return  # shapes that do not go together
        if np.size(result) <= MAX_SIZE:
            self.steps.append(step)
            self.values.append(result)

    def _operands(self, operation: Operation) -> tuple[int, ...] | None:
        chosen: list[int] = []
        for kind in operation.kinds:
            ready = [k for k, x in enumerate(self.values) if kind_of(x) == kind]
            if chosen and operation.fit in ("alike", "joined", "matrices"):
                shape = np.shape(self.values[chosen[0]])
                ready = [k for k in ready if _go_together(operation.fit, shape, np.shape(self.values[k]))] or ready
            if not ready:
                return None
            # Late values more often: programs get deep.
            chosen.append(ready[max(self.rng.randrange(len(ready)), self.rng.randrange(len(ready)))])
        return tuple(chosen)


def _go_together(fit: str, x: tuple[int, ...], y: tuple[int, ...]) -> bool:
    if fit == "matrices":
        return bool(x and y) and x[-1] == y[-2 if len(y) > 1 else 0]
    return x == y or (fit == "alike" and 0 in (len(x), len(y)))


Shapes = list[tuple[int, ...]]
Parameters = dict[str, str]


def _axis(rng: Random, shapes: Shapes) -> Parameters:
    n = len(shapes[0])
    axis = rng.choice([None, *range(-n, n)])
    return {"axis": repr(axis), "keep": repr(rng.random() < 0.3)}


def _full_axis(rng: Random, shapes: Shapes) -> Parameters | None:
    return _axis(rng, shapes) if prod(shapes[0]) else None


def _one_axis(rng: Random, shapes: Shapes) -> Parameters | None:
    if not shapes[0] or not prod(shapes[0]):
        return None
    return {
        "one": repr(rng.randrange(-len(shapes[0]), len(shapes[0]))),
        "shift": repr(rng.randint(-3, 3)),
        "number": repr(rng.choice((0.0, 0.5, -1.0))),
    }


def _number(rng: Random, _: Shapes) -> Parameters:
    number, other = rng.choice((0.1, 0.5, 1.0, 1.5, -0.7)), rng.choice((0.3, 2.0, -1.5))
    return {"number": f"xp.number({number})", "other": f"xp.number({other})"}


def _reshape(rng: Random, shapes: Shapes) -> Parameters:
    size = prod(shapes[0])
    divisors = [d for d in range(1, size + 1) if size % d == 0] or [1]
    return {"shape": repr((rng.choice(divisors), -1) if size else (0, 2))}


def _order(rng: Random, shapes: Shapes) -> Parameters:
    return {"order": repr(tuple(rng.sample(range(len(shapes[0])), len(shapes[0]))))}


def _slice(rng: Random, shapes: Shapes) -> Parameters | None:
    if not shapes[0]:
        return None
    return {n: repr(rng.choice((None, *range(-3, 4)))) for n in ("start", "stop")} | {
        "step": repr(rng.choice((None, 1, 2, -1, -2)))
    }


def _picks(rng: Random, shapes: Shapes) -> Parameters | None:
    if not shapes[0] or not shapes[0][0]:
        return None
    n = shapes[0][0]
    return {"picks": repr(tuple(rng.randrange(n) for _ in range(rng.randint(1, 5)))), "number": "0.5"}


def _index(rng: Random, shapes: Shapes, at: int = -1) -> Parameters | None:
    if not shapes[0] or not shapes[0][at]:
        return None
    return {"index": repr(rng.randrange(-shapes[0][at], shapes[0][at])), "number": "0.25"}


PARAMETERS: dict[str, Callable[[Random, Shapes], Parameters | None]] = {
    "alike": lambda _, __: {},
    "axis": _axis,
    "full axis": _full_axis,
    "one axis": _one_axis,
    "joined": _one_axis,
    "number": _number,
    "exponent": lambda rng, _: {"n": repr(rng.choice((0, 1, 2, 3, -1, -2)))},
    "divisor": lambda rng, _: {"divisor": repr(rng.choice((1, 2, 3, -2)))},
    "bits": lambda rng, _: {"bits": repr(rng.randrange(5))},
    "reshape": _reshape,
    "order": _order,
    "wide": lambda rng, shapes: {"wide": repr((rng.randint(1, 3), *shapes[0]))},
    "slice": _slice,
    "picks": _picks,
    "index": _index,
    "leading index": lambda rng, shapes: _index(rng, shapes, 0),
    "matrix": lambda _, shapes: {} if len(shapes[0]) > 1 else None,
    "matrices": lambda _, shapes: {} if all(shapes) else None,
    "line": lambda _, shapes: {} if len(shapes[0]) == 1 and shapes[0][0] > 2 else None,
    "dynamic": lambda rng, shapes: {"start": repr(rng.randint(0, 4))} if shapes[0] and shapes[0][0] > 1 else None,
    "lines": lambda _, shapes: {} if all(len(s) == 1 and s[0] for s in shapes) else None,
}
assert {o.fit for o in OPERATIONS} <= {*PARAMETERS}


def random_program(seed: int, *, smooth: bool = False) -> Program:
    """The program of a seed.

    Parameters
    ----------
    seed
        The same one gives the same program.
    smooth
        Its values stay between -1 and 1, and each operation has its operands where it has derivatives.
    """
    rng = Random(seed)
    dtype = "float64" if smooth else rng.choice(("float32", "float32", "float64", "float64", "float16"))
    grower = _Grower(rng, dtype, smooth, "real" if smooth else rng.choice(("real", "grid", "grid", "wild")))
    for _ in range(rng.randint(2, 8 if smooth else 14)):
        grower.step()
    n = len(grower.values)
    floats = [k for k in range(n) if kind_of(grower.values[k]) == "f"] if smooth else list(range(n))
    outputs = sorted(set(floats[-rng.randint(1, 3) :]))
    return Program(dtype, tuple(grower.arguments), tuple(grower.steps), tuple(outputs))
