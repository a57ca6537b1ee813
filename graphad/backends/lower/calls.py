"""Loops and branches, from their definitions to steps of the program around them.

A region that is made of steps is a program of its own: planned and generated as any other, over buffers named ``in0``,
``out0``, ``tmp0``. Here these become buffers of the program around it: values from outside, windows on the slices of a
turn, and pairs of buffers for what is carried, which trade places after each turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphad.backends.loops.ir import (
    Copy,
    Counted,
    HostCall,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Step,
    Window,
)
from graphad.backends.loops.steps import over
from graphad.backends.lower.in_place import carried_by, changed_by
from graphad.backends.lower.plan import Plan, plan_part
from graphad.backends.lower.region_values import (
    Branches,
    Call,
    CountedPart,
    LibraryCall,
    Part,
    Statements,
    Turns,
    TurnsWhile,
)
from graphad.backends.lower.storage import Storage
from graphad.ir.loc import Loc
from graphad.ir.types import b1


class CallSteps:
    """The steps of the calls in one program; ``generate`` writes a plan, this one's and those of regions."""

    def __init__(self, plan: Plan, storage: Storage, generate: Callable[[Plan], Any]) -> None:
        self.plan = plan
        self.values = plan.flat.values
        self.storage = storage
        self.generate = generate
        self.count = 0  # of loops of steps, for their variables

    def steps(self, call: Call, loc: Loc) -> list[Step]:
        match call.what:
            case Statements():
                return self.statements(call.what, call, loc)
            case Turns():
                return self.turns(call.what, call, loc)
            case TurnsWhile():
                return self.turns_while(call.what, call, loc)
            case Branches():
                return self.branches(call.what, call, loc)
            case LibraryCall(routine=routine, dtype=dtype, inputs=inputs, workspace=workspace, sizes=sizes):
                written = [self.where(v) for v in call.values]
                written += [self.storage.temporary(a.dtype, a.size) for a in workspace]
                return [RoutineCall(routine, dtype, tuple(map(self.where, inputs)), tuple(written), sizes, loc)]
            case CountedPart(count=count, inside=inside):
                if isinstance(inside, Statements):
                    steps = self.statements(inside, call, loc)
                else:
                    steps = self.part(inside, [], [self.where(v) for v in call.values], [])
                return [Counted(self.where(count), tuple(steps), loc)]

    def where(self, value: int) -> str:
        a = self.values[value].aval
        if not a.size:  # nothing writes it, and it has no place
            return self.storage.temporary(a.dtype, 0)
        return self.storage.where(value)[0]

    def statements(self, what: Statements, call: Call, loc: Loc) -> list[Step]:
        names = {name: self.where(value) for name, value in what.operands.items()}
        names |= dict(zip(what.results, map(self.where, call.values), strict=True))
        names |= {
            name: self.storage.temporary(a.dtype, a.size, private) for name, (a, private) in what.temporaries.items()
        }
        return [self.moved(LoopNest(what.body, loc), names)]

    # ---- loops of steps

    def pairs(
        self, starts: Sequence[int], call: Call, body: Plan, loc: Loc
    ) -> tuple[list[tuple[str, str]], list[Step]]:
        """Two buffers for each value that is carried, and the steps that put the first ones there.

        What the body updates in place has one buffer, which is both; and that of the result, if it is where the loop
        begins as well.
        """
        found: list[tuple[str, str]] = []
        steps: list[Step] = []
        for k, value in enumerate(starts):
            a = self.values[value].aval
            if call.values[k] in self.plan.decisions.overwrites:
                found.append((self.where(value), self.where(value)))
                continue
            first = self.storage.temporary(a.dtype, a.size)
            second = first if k in body.in_place.carries else self.storage.temporary(a.dtype, a.size)
            found.append((first, second))
            if a.size:
                steps.append(Copy(first, self.where(value), loc))
        return found, steps

    def swaps(self, pairs: Sequence[tuple[str, str]], starts: Sequence[int]) -> tuple[tuple[str, str], ...]:
        """The pairs of buffers that trade places."""
        rows = zip(pairs, starts, strict=True)
        return tuple([(a, b) for (a, b), v in rows if a != b and self.values[v].aval.size])

    def turns(self, what: Turns, call: Call, loc: Loc) -> list[Step]:
        pairs, steps = self.pairs(what.starts, call, plan_part(what.body, carried_by(what.body)), loc)
        windows: list[Window] = []
        outputs = [b for _, b in pairs]
        for value in call.values[len(pairs) :]:
            a = self.values[value].aval
            size = a.size // max(a.shape[0], 1)
            if not a.size:
                outputs.append(self.where(value))
                continue
            name = self.storage.window(a.dtype, size)
            outputs.append(name)
            windows.append(Window(name, self.where(value), 0, size))
        body = self.part(what.body, [a for a, _ in pairs], outputs, windows)
        swaps = self.swaps(pairs, what.starts)
        steps.append(Repeat(self.variable(), what.extent, tuple(windows), swaps, tuple(body), what.reverse, loc=loc))
        return steps + self.finals(pairs, call, loc)

    def turns_while(self, what: TurnsWhile, call: Call, loc: Loc) -> list[Step]:
        pairs, steps = self.pairs(what.starts, call, plan_part(what.body, carried_by(what.body)), loc)
        condition = self.storage.temporary(b1, 1)
        steps += self.part(what.test, [a for a, _ in pairs], [condition], [])
        body = self.part(what.body, [a for a, _ in pairs], [b for _, b in pairs], [])
        body += self.part(what.test, [b for _, b in pairs], [condition], [])
        steps.append(RepeatWhile(condition, self.swaps(pairs, what.starts), tuple(body), loc=loc))
        return steps + self.finals(pairs, call, loc)

    def finals(self, pairs: Sequence[tuple[str, str]], call: Call, loc: Loc) -> list[Step]:
        """What was carried last, put where it is read."""
        rows = zip(pairs, call.values, strict=False)
        found = [(self.where(v), pair[0]) for pair, v in rows if self.values[v].aval.size]
        return [Copy(result, last, loc) for result, last in found if result != last]

    def branches(self, what: Branches, call: Call, loc: Loc) -> list[Step]:
        steps: list[Step] = []
        for k, (condition, part) in enumerate(zip(what.conditions, what.parts, strict=True)):
            outputs: dict[int, str] = {}
            body: list[Step] = []
            changed: dict[int, str] = {}
            for result, value in zip(what.results, call.values, strict=False):
                at = result[k]
                if at is not None:
                    outputs[at] = self.where(value)
                    if at in plan_part(part, {}).in_place.carries and self.values[value].aval.size:
                        source = changed_by(part)[at]
                        body += self.brought(part.inputs[source].value, value, loc)
                        changed[source] = outputs[at]
            body += self.part(part, [], [outputs[i] for i in range(len(outputs))], [], changed)
            steps.append(RepeatWhile(self.where(condition), (), tuple(body), once=True, loc=loc))
        return steps

    def brought(self, source: int, result: int, loc: Loc) -> list[Step]:
        """What a branch changes in place, put where its result is."""
        names = self.where(result), self.where(source)
        return [] if names[0] == names[1] else [Copy(*names, loc)]

    def part(
        self,
        part: Part,
        carried: Sequence[str],
        outputs: Sequence[str],
        windows: list[Window],
        changed: Mapping[int, str] | None = None,
    ) -> list[Step]:
        """The steps of a region, over buffers of this program; windows that it needs are added.

        ``changed`` has the buffers of inputs that the region changes in place.
        """
        plan = plan_part(part, {})
        made = self.generate(plan)
        first_call = len(self.plan.calls)
        self.plan.calls += plan.calls
        names: dict[str, str] = {}
        for buffer in made.buffers:
            number = int(buffer.name.lstrip("abcdefghijklmnopqrstuvwxyz"))
            if buffer.role == "input":
                place = part.inputs[number]
                if changed and number in changed:
                    names[buffer.name] = changed[number]
                elif place.kind == "carried":
                    names[buffer.name] = carried[place.value]
                elif place.kind == "whole" or not buffer.size:
                    names[buffer.name] = self.where(place.value)
                else:
                    names[buffer.name] = name = self.storage.window(buffer.dtype, buffer.size)
                    windows.append(Window(name, self.where(place.value), place.offset, place.stride))
            elif buffer.role == "output":
                names[buffer.name] = outputs[number]
            elif buffer.role == "window":
                names[buffer.name] = self.storage.window(buffer.dtype, buffer.size)
            else:
                names[buffer.name] = self.storage.temporary(buffer.dtype, buffer.size, buffer.private)
        return [self.moved(step, names, first_call) for step in made.steps]

    def moved(self, step: Step, names: Mapping[str, str], first_call: int = 0) -> Step:
        """``step`` over other buffers; calls of the host are counted from ``first_call`` on."""
        # Numbered before the steps inside, as a person reads them.
        if isinstance(step, Repeat):
            step = replace(step, var=self.variable())
        elif isinstance(step, HostCall):
            step = replace(step, slot=step.slot + first_call)
        return over(step, names, lambda body: tuple([self.moved(s, names, first_call) for s in body]))

    def variable(self) -> str:
        """The variable of another loop of steps."""
        self.count += 1
        return f"turn{self.count - 1}"
