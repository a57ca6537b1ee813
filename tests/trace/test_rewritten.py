"""Python loops and branches, rewritten from their source: what is shown runs, and gives what the loop gives."""

from __future__ import annotations

import ast
import dis
import itertools
import linecache
import re
import textwrap
from collections.abc import Callable
from random import Random
from types import CodeType
from typing import Any

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.config import config
from graphad.errors import EndlessTraceError, TracerBoolError
from graphad.trace.rewritten import loops
from graphad.trace.rewritten.branches import rewritten_branch
from graphad.trace.rewritten.liveness import Names
from graphad.trace.rewritten.loops import rewritten_loop
from tests.trace.loop_sources import LOOPS, NOT_AS_IT_STANDS

_numbers = itertools.count()


def compiled(source: str) -> tuple[CodeType, Any]:
    """A module, whose source can be read as that of a cell of a notebook can."""
    name = f"<source {next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    code = compile(source, name, "exec")
    scope: Any = {"__name__": "module"}
    exec(code, scope)
    return code, scope


def codes(code: CodeType) -> list[CodeType]:
    return [code, *[c for k in code.co_consts if isinstance(k, CodeType) for c in codes(k)]]


def loc_of(code: CodeType, line: int) -> tuple[CodeType, int]:
    """The first instruction of a line, in the innermost function that is no lambda."""
    found = [
        (c, i.offset)
        for c in codes(code)
        for i in dis.get_instructions(c)
        if i.positions is not None and i.positions.lineno == line and not c.co_name.startswith("<")
    ]
    innermost = max([c for c, _ in found], key=lambda c: c.co_firstlineno)
    return next((c, offset) for c, offset in found if c is innermost)


def loops_of(source: str) -> list[ast.While | ast.For]:
    return [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.While, ast.For))]


def spliced(source: str, statement: ast.stmt, code: str) -> str:
    """``source`` with ``code`` in place of a statement."""
    lines = source.splitlines()
    margin = re.match(r"\s*", lines[statement.lineno - 1])
    assert margin is not None
    new = [margin[0] + line for line in code.splitlines()]
    return "\n".join([*lines[: statement.lineno - 1], *new, *lines[statement.end_lineno or 0 :], ""])


def code_in(message: str) -> str:
    """The code that a message shows."""
    lines = message.split(":\n", 1)[1].splitlines()
    shown = itertools.takewhile(lambda line: not line or line.startswith("    "), lines)
    return textwrap.dedent("\n".join(shown))


def rewritten_source(source: str) -> tuple[str, str]:
    """The source with its last loop rewritten, and the message."""
    code, _ = compiled(source)
    wanted = [n for n in loops_of(source) if isinstance(n, ast.While)] or loops_of(source)
    loop = wanted[-1]
    message = rewritten_loop(
        loc_of(code, loop.lineno if isinstance(loop, ast.For) else loop.test.lineno), observed=True
    )
    return spliced(source, loop, code_in(message)), message


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_shown_gives_the_same(name: str) -> None:
    source, args = LOOPS[name]
    changed, message = rewritten_source(source)
    imported = "" if "import graphad\n" in source else "import graphad, graphad.numpy\n"
    with config.override(default_dtype_bits=64):
        expected = compiled(source)[1]["f"](*args)
        found = graphad.jit(compiled(imported + changed)[1]["f"])(*args)
    assert re.search(r"(while|fori)_loop\(", message)
    for x, y in zip(graphad.tree.leaves(found), graphad.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


@pytest.mark.parametrize("name", NOT_AS_IT_STANDS)
def test_what_is_in_the_way_is_said(name: str) -> None:
    loop, says = NOT_AS_IT_STANDS[name]
    source = f"import graphad\ndef f(x, y, a):\n{textwrap.indent(loop, '    ')}\n    return x, y\n"
    code, _ = compiled(source)
    (found,) = loops_of(source)
    message = rewritten_loop(loc_of(code, found.lineno), observed=True)
    assert re.search(says, message), message
    assert "\n" not in message


def test_long_bodies_are_cut_in_the_middle() -> None:
    body = "".join([f"        x = x * {k}\n" for k in range(30)])
    code, _ = compiled(f"import graphad\ndef f(x):\n    while x < 3:\n{body}    return x\n")
    lines = code_in(rewritten_loop(loc_of(code, 3), observed=True)).splitlines()
    assert lines[2:-2] == [
        "def turn(x):",
        *[f"    x = x * {k}" for k in range(6)],
        "    # ... 18 more lines of the body",
        *[f"    x = x * {k}" for k in range(24, 30)],
    ]


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("if x > 1: x = x / 2", "What the `if` of line 4 chooses is chosen by graphad.lax.cond, or by"),
        ("x = x / 2 if x > 1 else x", "What the `if` of line 4 chooses"),
        ("y = x > 1 and x < 3; x = x * y", "What the `and` of line 4 chooses"),
        ("for _ in range(x): x = x / 2", "Rewrite the `for` of line 4 within it as well."),
        ("while x > y: x = x / 2", "Rewrite the `while` of line 4 within it as well."),
        ("x = x / (2 if y else 3)", ""),
        ("for _ in range(y): x = x / 2", ""),
    ],
)
def test_a_note_says_what_else_looks_at_values(line: str, note: str) -> None:
    code, _ = compiled(f"import graphad\ndef f(x, y):\n    while x < 3:\n        {line}\n    return x\n")
    message = rewritten_loop(loc_of(code, 3), observed=True)
    behind = message.rpartition("\n")[2]
    assert behind.startswith(note)
    assert bool(behind) == bool(note)


# ---------------------------------------------------------------------------------------------------------------------
# Random loops


NAMES = "abcdeg"


class Grower:
    """Random statements about a few names; every loop ends."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.count = 0

    def expression(self) -> str:
        a, b = self.rng.choices(NAMES, k=2)
        return self.rng.choice(
            [f"{a} + {b}", f"{a} - 2 * {b}", f"(lambda v: v + {b})({a})", f"sum([{a} for _ in (1, 2)])"]
        )

    def block(self, indent: str, depth: int) -> list[str]:
        lines: list[str] = []
        for _ in range(self.rng.choice((1, 2, 3))):
            lines += self.statement(indent, depth)
        return lines

    def statement(self, indent: str, depth: int) -> list[str]:
        kind = self.rng.randrange(8 if depth < 3 else 5)
        name, inner = self.rng.choice(NAMES), indent + "    "
        if kind < 3:
            return [f"{indent}{name} = {self.expression()}"]
        if kind == 3:
            return [f"{indent}{name} += {self.expression()}"]
        if kind == 4:
            other = self.rng.choice(NAMES)
            return [f"{indent}{name}, {other} = {self.expression()}, {self.expression()}"]
        if kind == 5:
            sides = [*self.block(inner, depth + 1), f"{indent}else:", *self.block(inner, depth + 1)]
            a, b, c = [self.expression() for _ in range(3)]
            test = self.rng.choice([f"{a} > 0", f"{a} > 0 and ({name} := {b}) > 0", f"0 < {a} < ({name} := {b}) < {c}"])
            return [f"{indent}if {test}:", *sides]
        self.count += 1
        i = f"i{self.count}"
        if kind == 6:
            return [
                f"{indent}for {i} in range({name} % 3):",
                *self.block(inner, depth + 1),
                f"{inner}{name} = {name} % 1000",
            ]
        test = self.rng.choice(
            [f"{i} < 3", f"{i} < 3 and {name} < 50", f"({name} := {self.expression()}) < {i} - 1 < 2"]
        )
        turn = [*self.block(inner, depth + 1), f"{inner}{i} += 1"]
        return [f"{indent}{i} = 0", f"{indent}while {test}:", *turn, f"{inner}{name} = {name} % 1000"]


class Loops:
    """The loops of `graphad.lax` as loops of Python."""

    @staticmethod
    def while_loop(goes_on: Callable[[Any], Any], turn: Callable[[Any], Any], state: Any) -> Any:
        while goes_on(state):
            state = turn(state)
        return state

    @staticmethod
    def fori_loop(lower: int, upper: int, turn: Callable[[int, Any], Any], state: Any) -> Any:
        for i in range(lower, upper):
            state = turn(i, state)
        return state


def test_random_loops_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_MOST_LINES", 1000)
    rewritten = 0
    for seed in range(200):
        grower = Grower(seed)
        lines = grower.block("    ", 0)
        source = "\n".join(
            [
                "from graphad import lax",
                "import graphad.numpy as gnp",
                "def f(a, b, c, d, e, g):",
                *lines,
                f"    return {grower.expression()}, {grower.expression()}",
                "",
            ]
        )
        code, scope = compiled(source)
        for loop in loops_of(source):
            line = loop.lineno if isinstance(loop, ast.For) else loop.test.lineno
            message = rewritten_loop(loc_of(code, line), observed=True)
            if "but for" in message:
                continue
            changed = compiled(spliced(source, loop, code_in(message)))[1]
            changed["lax"] = Loops
            assert changed["f"](1, 2, 3, 4, 5, 6) == scope["f"](1, 2, 3, 4, 5, 6), f"{source}\n{message}"
            rewritten += 1
    assert rewritten > 100


# ---------------------------------------------------------------------------------------------------------------------
# Branches

#: name -> the body of ``f(c, x)`` behind a branch on traced values, and how that is rewritten.
BRANCHES = {
    "both sides return": (
        "if c > x: return c, x\nreturn x, c",
        "return lax.cond(c > x, lambda: (c, x), lambda: (x, c))",
    ),
    "an else returns": (
        "if c > x:\n    return c * 2\nelse:\n    return x",
        "return lax.cond(c > x, lambda: c * 2, lambda: x)",
    ),
    "one name": ("if c > x: c = c - x\nreturn c", "c = lax.cond(c > x, lambda: c - x, lambda: c)"),
    "one name on both sides": (
        "if c > x and x > -1:\n    y = c\nelse:\n    y = x * 2\nreturn y + c",
        "y = lax.cond((c > x) & (x > -1), lambda: c, lambda: x * 2)",
    ),
    "an expression": (
        "y = 1 + (c if not c > x else x * 2)\nreturn y",
        "lax.cond(gnp.logical_not(c > x), lambda: c, lambda: x * 2)",
    ),
    "several names": (
        "y = x\nif c > x:\n    # down\n    t = c / 2\n    c = c - t\n    y += t\nelse:\n    c = c + y\nreturn c, y",
        """
def if_true(c, y):
    # down
    t = c / 2
    c = c - t
    y += t
    return c, y
def if_false(c, y):
    c = c + y
    return c, y
c, y = lax.cond(c > x, if_true, if_false, c, y)""",
    ),
    "one side alone": (
        "if c > x:\n    t = c / 2\n    c = c - t\nreturn c",
        """
def if_true(c):
    t = c / 2
    c = c - t
    return c
def if_false(c):
    return c
c = lax.cond(c > x, if_true, if_false, c)""",
    ),
    "a loop": (
        "y = c\nwhile y > x:\n    y = y - 1\nreturn y",
        """
def goes_on(y):
    return y > x
def turn(y):
    y = y - 1
    return y
y = lax.while_loop(goes_on, turn, y)""",
    ),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_are_rewritten(name: str) -> None:
    body, shown = BRANCHES[name]
    source = f"from graphad import lax\nimport graphad.numpy as gnp\ndef f(c, x):\n{textwrap.indent(body, '    ')}\n"
    f = compiled(source)[1]["f"]
    with pytest.raises(TracerBoolError) as caught:
        lax.scan(lambda _, pair: (None, f(*pair)), None, (gnp.ones(2), gnp.ones(2)))
    message = str(caught.value)
    assert code_in(message.partition("\nThe `")[2]) == shown.strip()
    assert "while" in message or message.endswith(
        "Or write gnp.where(condition, a, b), which computes both sides and chooses."
    )
    tree = ast.parse(source)
    statement = next(n for n in ast.walk(tree) if isinstance(n, (ast.If, ast.IfExp, ast.While)))
    if isinstance(statement, ast.IfExp):
        segment = ast.get_source_segment(source, statement)
        assert segment is not None
        changed = source.replace(segment, shown)
    else:
        changed = spliced(source, statement, shown.strip())
    with config.override(default_dtype_bits=64):
        c, x = gnp.array([3.0, 1.0, -2.0]), gnp.array([1.0, 3.5, -4.0])
        found = lax.map(lambda pair: compiled(changed)[1]["f"](*pair), (c, x))
        expected = [f(float(a), float(b)) for a, b in zip(c, x, strict=True)]
    for k, e in enumerate(expected):
        assert graphad.tree.map(lambda y, k=k: float(y[k]), found) == e


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("if c > x:\n    c = c * 2\n    return c\nreturn x", r"its `return` \(line 5\): let both sides give a value"),
        ("for i in (1, 2):\n    if c > x: break\n    c = c + i\nreturn c", "its `break`.*rewrite the loop around it"),
        ("if c > x:\n    z = c\n    y = z\nreturn x", "its results: nothing"),
        ("if c > x:\n    y = c\n    c = y\nreturn c + y", "y, to which only one side gives a value"),
        ("if c > x:\n    c.y = x\nreturn c", r"`c\.y = \.\.\.` \(line 4\)"),
    ],
)
def test_what_is_in_the_way_of_a_branch_is_said(body: str, says: str) -> None:
    code, _ = compiled(f"import graphad\ndef f(c, x):\n{textwrap.indent(body, '    ')}\n")
    line = 3 + next(k for k, text in enumerate(body.splitlines()) if "if " in text)
    message = rewritten_branch(loc_of(code, line))
    assert re.search(says, message), message
    assert message.endswith("Or write graphad.numpy.where(condition, a, b), which computes both sides and chooses.")


def test_an_elif_is_a_branch_in_the_other_one() -> None:
    sides = "if x > 1:\n    y = x\n    x = 3\n# far down\nelif x < -1:\n    y = -x\nelse:\n    y = 0"
    body = textwrap.indent(f"{sides}\nreturn x + y\n", "    ")
    code, _ = compiled(f"import graphad\ndef f(x):\n{body}")
    shown = code_in(rewritten_branch(loc_of(code, 3)))
    assert (
        "def if_false(x):\n    # far down\n    if x < -1:\n        y = -x\n    else:\n        y = 0\n    return x, y"
        in shown
    )


# ---------------------------------------------------------------------------------------------------------------------
# Names, and sources that cannot be read


@pytest.mark.parametrize(
    ("statements", "read", "bound"),
    [
        ("x = y; z = x", "y", "x z"),
        ("x += 1", "x", "x"),
        ("x: int = y", "y", "x"),
        ("if a: x = 1\nelse: y = x = 2\nx; y", "a y", "x"),
        ("a and (x := 1); x", "a x", ""),
        ("0 < a < (x := 1) < (y := 2); x; y", "a x y", ""),
        ("(x := a) < (y := 2); x; y", "a", "x y"),
        ("(x := 1) if a else 2; x", "a x", ""),
        ("for i in a: x = i\nx; i", "a x i", ""),
        ("while a: x = 1\nelse: y = 2\nx; y", "a x", "y"),
        ("try: x = a\nexcept E as e: y = e\nfinally: z = 1\nx; y", "a E x y", "z"),
        ("with a as x: y = x", "a", "x y"),
        ("match a:\n  case [x, *y]: x; y\n  case {'k': z, **w}: z; w\nx", "a x", ""),
        ("import m.n, o as p\nm; p", "", "m p"),
        ("def g(v, w=a): return v + w + b\ng", "a b", "g"),
        ("def g():\n  nonlocal x\n  x = 1", "x", "g"),
        ("class C(a): b = c", "b c a", "C"),
        ("g = lambda v: v + x", "x", "g"),
        ("y = [v + x for v in a]; v", "a x v", "y"),
    ],
)
def test_names_of_statements(statements: str, read: str, bound: str) -> None:
    names = Names().run(ast.parse(statements).body)
    assert set(names.read) == set(read.split())
    assert names.bound == set(bound.split())


def test_without_its_source_a_loop_is_not_rewritten() -> None:
    scope: Any = {}
    exec("def f(x):\n    while x > 0:\n        x = x + 1\n    return x\n", scope)
    with config.override(max_equations=200), pytest.raises(EndlessTraceError) as caught:
        graphad.jit(scope["f"])(np.float32(1))
    assert str(caught.value).endswith("if the program is meant to be that long.")


def test_another_source_than_that_of_the_code_is_not_taken_for_it() -> None:
    source = "def f(x):\n    while x > 0:\n        x = x + 1\n    return x\n"
    code, _ = compiled(source)
    loc = loc_of(code, 2)
    assert "while_loop" in rewritten_loop(loc, observed=True)
    for other in (["# moved\n", *source.splitlines(keepends=True)], ["def f(x:\n"]):
        linecache.cache[code.co_filename] = (1, None, other, code.co_filename)
        assert rewritten_loop(loc, observed=True) == ""


def test_loops_in_comprehensions_are_left_alone() -> None:
    def f(x: Any) -> Any:
        return sum([x * k for k in range(1000)])

    with config.override(max_equations=200), pytest.raises(EndlessTraceError) as caught:
        graphad.jit(f)(np.float32(1))
    assert str(caught.value).endswith("if the program is meant to be that long.")


def test_the_loop_may_be_in_a_caller() -> None:
    def grown(x: Any) -> Any:
        return x + 1

    def f(x: Any) -> Any:
        while True:
            x = grown(x)

    with config.override(max_equations=200), pytest.raises(EndlessTraceError) as caught:
        graphad.jit(f)(np.float32(1))
    assert "of the `while` of line" in str(caught.value)
    assert "no turn changes what that reads" in str(caught.value)
