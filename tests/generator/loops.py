"""Random programs with loops and branches: scans, counted and conditional loops in one another, over small and larger
carried values.

As `tests.generator.programs`, a program grows line by line and is run at once by the reference; the body of a loop
grows with the values of its first turn. Values stay between -1 and 1, and every loop ends: what does not count its
turns has a bound on them beside its condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

from tests.generator.loop_programs import LoopProgram
from tests.generator.loop_spaces import LoopReference
from tests.generator.operations import ELEMENTWISE, NESTED, OPERATIONS, PRODUCTS, REDUCTIONS, SHAPES
from tests.generator.programs import PARAMETERS, Step, kind_of

#: Shapes of arguments: numbers alone, few numbers, and vectors beside matrices that multiply them.
PROFILES: dict[str, tuple[tuple[int, ...], ...]] = {
    "scalar": ((), (), ()),
    "small": ((), (2,), (3,), (4,), (5,), (6,), (7,), (2, 2), (3, 3)),
    "large": ((), (40,), (40, 40)),
}
TURNS = (0, 1, 2, 3, 5, 8, 9, 17)
DEEPEST = 3
_SMOOTH = [o for o in OPERATIONS if o.domain is not None and o.batches and o.forward]
_GROUPS = [
    [o for o in group if o in _SMOOTH] for group in (ELEMENTWISE, ELEMENTWISE, REDUCTIONS, SHAPES, PRODUCTS, NESTED)
]
_OF_SCALARS = [[o for o in ELEMENTWISE if o in _SMOOTH], [o for o in NESTED if o in _SMOOTH]]
Scope = dict[str, Any]
TAB = "    "
#: Names of values: arguments, and what lines compute.
NAME = r"[av]\d+"
LOOPS = ("scan(", "fori_loop(", "while_loop(", "cond(", "switch(", "map(")


class _Grower:
    """Appends lines to a program as it runs them.

    A scope has the values of the names that a line can read; that of the body of a loop those of its first turn.
    """

    def __init__(self, rng: Random, dtype: str, profile: str) -> None:
        self.rng = rng
        self.dtype = dtype
        self.profile = profile
        self.numbers = np.random.default_rng(rng.getrandbits(32))
        self.lines: list[str] = []
        self.arguments: list[np.ndarray[Any, Any]] = []
        self.count = 0
        self.most = 1600 if profile == "large" else 64
        #: Integers that are small enough to be numbers of turns.
        self.bounded: list[str] = []
        self.scope: Scope = {"xp": LoopReference(dtype)}
        self.inputs()

    def inputs(self) -> None:
        shapes, turns = self.rng.choices(PROFILES[self.profile], k=2), self.rng.choice(TURNS)
        for shape in (shapes[0], (turns, *shapes[1]), *([(40, 40), (40,)] if self.profile == "large" else [shapes[1]])):
            scale = 0.2 if np.prod(shape) > 400 else 1.0
            self.input(np.asarray(self.numbers.uniform(-scale, scale, shape), self.dtype))
        for _ in range(self.rng.choice((1, 2))):
            self.bounded.append(self.input(np.asarray(self.numbers.integers(-1, 7), np.int32)))

    def input(self, x: np.ndarray[Any, Any]) -> str:
        name = f"a{len(self.arguments)}"
        self.arguments.append(x)
        self.scope[name] = self.scope["xp"].rounded(x, 0)
        return name

    def name(self, letter: str = "v") -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def new(self, names: Sequence[str]) -> list[str]:
        return [self.name() for _ in names]

    def add(self, scope: Scope, lines: Sequence[str]) -> None:
        """Append lines, and run them."""
        depth = len(lines[0]) - len(lines[0].lstrip())
        with np.errstate(all="ignore"):
            exec("\n".join([line[depth:] for line in lines]), scope)
        self.lines += lines

    # -----------------------------------------------------------------------------------------------------------------
    # Choices

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def values(self, scope: Scope, kinds: str = "f", fits: Callable[[Any], Any] = lambda _: True) -> list[str]:
        return [n for n, x in scope.items() if re.fullmatch(NAME, n) and kind_of(x) in kinds and fits(x)]

    def late(self, names: Sequence[str]) -> str:
        """One of them, the last ones more often: programs get deep."""
        n = len(names)
        return names[max(self.rng.randrange(n), self.rng.randrange(n))]

    def small(self, scope: Scope) -> list[str]:
        return self.values(scope, "f", lambda x: np.size(x) <= 49)

    def integers(self, scope: Scope) -> list[str]:
        return self.values(scope, "i", lambda x: not np.ndim(x))

    def predicate(self, scope: Scope) -> str:
        whole = self.integers(scope)
        if whole and self.chance(0.3):
            return f"(({self.late(whole)} % 2) == {self.rng.randrange(2)})"
        return f"(xp.sum({self.late(self.values(scope))}) > {self.rng.choice((-0.3, 0.0, 0.1, 0.4))})"

    def container(self, n: int) -> str:
        """A container of ``n`` names, with places for them."""
        places = ", ".join(["{}"] * n)
        style = self.rng.randrange(4)
        if style == 0 and n == 1:
            return places
        return {1: f"[{places}]", 2: f"[({places},), None]"}.get(style, f"({places},)")

    # -----------------------------------------------------------------------------------------------------------------
    # Lines

    def statements(self, scope: Scope, indent: str, n: int, depth: int) -> None:
        for _ in range(n):
            if depth < DEEPEST and self.chance((0.55, 0.2, 0.1)[depth]):
                often = [self.scan, self.scan, self.scan, self.fori, self.fori, self.while_, self.while_]
                seldom = [self.cond, self.cond, self.switch, self.map, self.associative]
                self.rng.choice([*often, *seldom])(scope, indent, depth + 1)
            else:
                self.line(scope, indent)

    def line(self, scope: Scope, indent: str) -> None:
        chosen, whole = self.rng.random(), self.integers(scope)
        target = f"{indent}{self.name()} = "
        if chosen < 0.1 and whole:
            i = self.rng.choice(whole)
            arrays = self.values(scope, "f", lambda x: np.ndim(x) == 1 and len(x))
            if arrays and self.chance(0.6):
                v = self.late(arrays)
                self.add(scope, [f"{target}{v}[{i} % {len(scope[v])}]"])
            else:
                self.add(scope, [f"{target}xp.rounded(xp.tanh(xp.to_float({i}) * 0.3), 8)"])
        elif chosen < 0.14 and whole:
            self.add(scope, [f"{target}({self.rng.choice(whole)} * 3 + {self.rng.randrange(4)}) % 5"])
        elif chosen < 0.16:
            self.add(scope, [f"{target}{self.predicate(scope)}"])
        elif chosen < 0.2:  # the branch that is not chosen has no derivative
            v = self.late(self.values(scope))
            branches = "lambda z: xp.sqrt(xp.sum(z) - 0.05), lambda z: xp.sum(z) * 0.5"
            self.add(scope, [f"{target}xp.rounded(xp.tanh(xp.cond(xp.sum({v}) > 0.1, {branches}, {v})), 32)"])
        else:
            self.operation(scope, target)

    def operation(self, scope: Scope, target: str) -> None:
        groups = _OF_SCALARS if self.profile == "scalar" and self.chance(0.9) else _GROUPS
        operation = self.rng.choice(self.rng.choice(groups))
        operands: list[str] = []
        for _ in operation.kinds:
            ready = self.values(scope)
            if operands and operation.fit in ("alike", "joined"):
                shape = np.shape(scope[operands[0]])
                ready = [n for n in ready if np.shape(scope[n]) in (shape, ())] or ready
            elif operands and operation.fit == "matrices" and np.ndim(scope[operands[0]]):
                n_rows = np.shape(scope[operands[0]])[-1]
                ready = [n for n in ready if np.shape(scope[n])[:1] == (n_rows,)] or ready
            operands.append(self.late(ready))
        parameters = PARAMETERS[operation.fit](self.rng, [np.shape(scope[n]) for n in operands])
        if parameters is None:
            return
        step = Step(operation, tuple(range(len(operands))), tuple(parameters.items()), smooth=True)
        text = step.text(operands)
        try:
            with np.errstate(all="ignore"):
                result = eval(text, dict(scope))
        except (ValueError, IndexError, TypeError, ZeroDivisionError):
            return  # shapes that do not go together
        if 0 < np.size(result) <= self.most:
            self.add(scope, [f"{target}{text}"])

    def like(self, scope: Scope, name: str, indent: str, own: Sequence[str]) -> str:
        """A value of the type of the one of a name, one of its ``own`` if it can be."""
        x = scope[name]
        kind, shape = kind_of(x), np.shape(x)
        alike = [n for n in own if kind_of(scope[n]) == kind and np.shape(scope[n]) == shape]
        if kind == "f" and alike and self.chance(0.85):
            return self.late(alike)
        target, other = self.name(), self.late(self.values(scope))
        if kind == "i":
            text = f"({name} + {self.rng.randint(1, 3)}) % 5"
        elif kind == "b":
            text = f"{self.predicate(scope)} ^ {name}"
        else:
            total = f"xp.rounded(xp.sum(xp.shaken({other}, 8)) * 0.1, 8)"
            text = f"xp.rounded(xp.tanh(xp.shaken({name} * 0.7, 8) + xp.shaken({total}, 8)), 8)"
        self.add(scope, [f"{indent}{target} = {text}"])
        return target

    # -----------------------------------------------------------------------------------------------------------------
    # Loops and branches

    def carried(self, scope: Scope) -> list[str]:
        """Names of what a loop begins with."""
        names = [self.late(self.small(scope)) for _ in range(self.rng.choice((1, 1, 2, 2, 3)))]
        others = self.values(scope, "ib", lambda x: not np.ndim(x))
        return [*names, self.rng.choice(others)] if others and self.chance(0.2) else names

    def slices(self, scope: Scope, depth: int) -> list[str]:
        """Names of arrays to run over, of one length."""
        arrays = self.values(scope, "f", lambda x: np.ndim(x) and len(x) < (41, 20, 10)[depth - 1])
        if not arrays:
            return []
        first = self.rng.choice(arrays)
        return [first, *[a for a in arrays if len(scope[a]) == len(scope[first]) and self.chance(0.3)]][:3]

    def function(
        self, scope: Scope, indent: str, depth: int, given: dict[str, tuple[str, Scope]], ends: Callable[..., str]
    ) -> str:
        """Define a function and give its name.

        ``given`` has the targets that its parameters are unpacked to, with their values; ``ends`` gives what it
        returns, by its scope, its indentation and the names that are its own.
        """
        f, at = self.name("f"), len(self.lines)
        self.lines.append(f"{indent}def {f}({', '.join(given)}):")
        inner, indented = dict(scope), indent + TAB
        for parameter, (target, values) in given.items():
            if target != parameter:
                self.lines.append(f"{indented}{target} = {parameter}")
            inner |= values
        self.statements(inner, indented, self.rng.randint(1, 4), depth)
        taken = set() if self.chance(0.15) else {n for _, values in given.values() for n in values}
        own = [n for n in self.values(inner, "fib") if n not in scope and n not in taken]
        self.lines.append(f"{indented}return {ends(inner, indented, own)}")
        lines = self.lines[at:]
        del self.lines[at:]
        self.add(scope, lines)
        return f

    def state(self, scope: Scope, starts: list[str]) -> tuple[str, list[str], tuple[str, Scope]]:
        """A container for carried values, their names in the body, and what `function` takes."""
        container, names = self.container(len(starts)), self.new(starts)
        target = container.replace("None", "_").format(*names)
        return container, names, (target, {n: scope[k] for n, k in zip(names, starts, strict=True)})

    def unpack(self, container: str, names: list[str]) -> str:
        return container.replace("None", "_").format(*names)

    def scan(self, scope: Scope, indent: str, depth: int) -> None:
        starts, xs = self.carried(scope), self.slices(scope, depth) if self.chance(0.8) else []
        n = len(scope[xs[0]]) if xs else self.rng.choice(TURNS[: 9 - 2 * depth])
        container, carried, state = self.state(scope, starts)
        total = self.name("t") if self.chance(0.3) else ""  # a sum that nothing else in the loop reads
        if total:
            state = (f"{state[0]}, {total}", state[1])
        slices, sliced = self.container(len(xs)) if xs else "None", self.new(xs)
        rows = [scope[k][0] if n else np.zeros(np.shape(scope[k])[1:], np.longdouble) for k in xs]
        row = (self.unpack(slices, sliced), dict(zip(sliced, rows, strict=True)))
        ys: list[str] = []

        def ends(inner: Scope, indented: str, own: list[str]) -> str:
            outs = [self.like(inner, k, indented, own) for k in carried]
            last = container.format(*outs)
            if total:
                term = f"xp.shaken({self.like(inner, carried[0], indented, own)} * 0.05, 1)"
                last = f"({last}, xp.shaken({total} {self.rng.choice('+-')} {term}, 16))"
            kinds = "f" if self.chance(0.8) else "fib"
            ready = self.values(inner, kinds, lambda x: np.size(x) <= 49)
            ready = ([k for k in ready if k in own] if self.chance(0.8) else ready) or ready
            ys.extend([self.late(ready) for _ in range(self.rng.choice((0, 1, 1, 2)))])
            ys.insert(0, self.container(len(ys)) if ys else "None")
            return f"{last}, {ys[0].format(*ys[1:])}"

        f = self.function(scope, indent, depth, {self.name("c"): state, self.name("x"): row}, ends)
        over = slices.format(*xs)
        length = "None" if xs and self.chance(0.8) else n
        target, init = self.unpack(container, self.new(starts)), container.format(*starts)
        if total:
            target, init = f"({target}, {self.name()})", f"({init}, {starts[0]} * 0.1)"
        targets = f"{target}, {self.unpack(ys[0], self.new(ys[1:]))}"
        self.add(scope, [f"{indent}{targets} = xp.scan({f}, {init}, {over}, {length}, {self.chance(0.4)})"])

    def map(self, scope: Scope, indent: str, depth: int) -> None:
        xs = self.slices(scope, depth)
        if not xs or not len(scope[xs[0]]):
            return
        slices, sliced = self.container(len(xs)), self.new(xs)
        row = (self.unpack(slices, sliced), {n: scope[k][0] for n, k in zip(sliced, xs, strict=True)})
        ends = lambda inner, _, own: self.late(self.values({n: inner[n] for n in own}) or sliced)
        f = self.function(scope, indent, depth, {self.name("x"): row}, ends)
        size = self.rng.choice((None, None, 1, 2, 3))
        self.add(scope, [f"{indent}{self.name()} = xp.map({f}, {slices.format(*xs)}, {size})"])

    def associative(self, scope: Scope, indent: str, depth: int) -> None:
        xs = [n for n in self.slices(scope, depth) if len(scope[n])]
        if not xs:
            return
        x, reverse, shape = xs[0], self.chance(0.4), np.shape(scope[xs[0]])
        if len(shape) == 3 and shape[1] == shape[2]:
            product, operand, targets = "xp.rounded(xp.shaken(p, 16) @ q, 16)", f"{x} * 0.5", self.name()
        elif np.size(scope[x]) > 64 or self.chance(0.6):  # of many numbers, two are as near as the steps of differences
            product = "(xp.rounded(p[0] * q[0], 16), xp.rounded(xp.shaken(xp.shaken(q[0] * p[1], 16) + q[1], 16), 16))"
            operand, targets = f"({x}, {x} * 0.5)", f"{self.name()}, {self.name()}"
        else:
            product, operand, targets = "xp.maximum(p, q)", x, self.name()
        self.add(scope, [f"{indent}{targets} = xp.associative_scan(lambda p, q: {product}, {operand}, {reverse})"])

    def fori(self, scope: Scope, indent: str, depth: int) -> None:
        starts = self.carried(scope)
        bounds = [n for n in self.bounded if n in scope]
        lower, upper = str(self.rng.choice((0, 0, 1, -2))), str(self.rng.choice((0, 1, 3, 7)))
        if bounds and self.chance(0.6):
            upper = self.rng.choice(bounds)
            lower = self.rng.choice(bounds) if self.chance(0.2) else lower
        container, carried, state = self.state(scope, starts)
        i = self.name()
        self.bounded.append(i)
        ends = lambda inner, at, own: container.format(*[self.like(inner, k, at, own) for k in carried])
        f = self.function(scope, indent, depth, {i: (i, {i: np.int32(0)}), self.name("c"): state}, ends)
        targets = self.unpack(container, self.new(starts))
        self.add(scope, [f"{indent}{targets} = xp.fori_loop({lower}, {upper}, {f}, {container.format(*starts)})"])

    def while_(self, scope: Scope, indent: str, depth: int) -> None:
        starts = self.carried(scope)
        container, carried, (target, values) = self.state(scope, starts)
        i = self.name()
        self.bounded.append(i)
        state = (f"{i}, {target}", {i: np.int32(0), **values})
        inner = {**scope, **values}
        more = f" & {self.predicate(inner)}" if self.chance(0.8) else ""
        goes_on, c = self.name("f"), self.name("c")
        self.add(
            scope,
            [
                f"{indent}def {goes_on}({c}):",
                f"{indent}{TAB}{state[0]} = {c}",
                f"{indent}{TAB}return ({i} < {self.rng.choice((1, 3, 6, 9))}){more}",
            ],
        )

        def ends(inner: Scope, at: str, own: list[str]) -> str:
            own = [k for k in own if k != i]
            return f"({i} + 1, {container.format(*[self.like(inner, k, at, own) for k in carried])})"

        f = self.function(scope, indent, depth, {c: state}, ends)
        counted = self.name()
        self.bounded.append(counted)
        targets = f"{counted}, {self.unpack(container, self.new(starts))}"
        init = f"(xp.integer(0), {container.format(*starts)})"
        self.add(scope, [f"{indent}{targets} = xp.while_loop({goes_on}, {f}, {init})"])

    def choose(self, scope: Scope, indent: str, depth: int, n: int, call: Callable[[list[str]], str]) -> None:
        operands = self.carried(scope)
        likes = [self.late(self.small(scope)) for _ in range(self.rng.choice((1, 1, 2)))]
        ends = lambda inner, at, own: "".join([f"{self.like(inner, k, at, own)}, " for k in likes])
        names: list[str] = []
        for _ in range(n):
            taken = {self.name(): k for k in operands}
            given = {k: (k, {k: scope[of]}) for k, of in taken.items()}
            names.append(self.function(scope, indent, depth, given, ends))
        targets = "".join([f"{name}, " for name in self.new(likes)])
        self.add(scope, [f"{indent}{targets}= {call(names)}, {', '.join(operands)})"])

    def cond(self, scope: Scope, indent: str, depth: int) -> None:
        chosen = self.predicate(scope)
        self.choose(scope, indent, depth, 2, lambda names: f"xp.cond({chosen}, {', '.join(names)}")

    def switch(self, scope: Scope, indent: str, depth: int) -> None:
        index = f"{self.late(self.integers(scope))} - 1"
        n = self.rng.choice((2, 3, 4))
        self.choose(scope, indent, depth, n, lambda names: f"xp.switch({index}, [{', '.join(names)}]")


def random_loops(seed: int, *, smooth: bool = False) -> LoopProgram:
    """The program of a seed; ``smooth`` for one in float64 whose results are floats alone."""
    rng = Random(seed)
    dtype = "float64" if smooth else rng.choice(("float32", "float64"))
    grower = _Grower(rng, dtype, rng.choice(("scalar", "scalar", "small", "small", "large")))
    while not any([f"xp.{loop}" in line for line in grower.lines for loop in LOOPS]):
        grower.statements(grower.scope, TAB, rng.randint(1, 3), 0)
    made = [n for n in grower.values(grower.scope, "f" if smooth else "fib") if n.startswith("v")]
    results = made[-rng.randint(1, 4) :] or ["a0"]
    grower.lines.append(f"{TAB}return ({', '.join(results)},)")
    return LoopProgram(dtype, tuple(grower.arguments), tuple(grower.lines))
