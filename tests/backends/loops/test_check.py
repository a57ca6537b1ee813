"""The verifier of loop programs: each rule has a program that breaks it and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from graphad.backends.loops.check import KINDS, check_program
from graphad.backends.loops.ir import (
    Carry,
    Copy,
    Gemm,
    GuardStep,
    HostCall,
    Let,
    Load,
    Loop,
    Matrix,
    Position,
    Statement,
    Store,
)
from graphad.backends.loops.text import format_program
from graphad.errors import VerifyError
from graphad.ir.lowering import ARITHMETIC, COMPARISONS, ELEMENTARY
from graphad.ir.types import DType, b1, f16, f32, f64, i32, i64, u32
from tests.backends.loop_harness import at, buffers, lit, nest, program

IN = buffers("input", x=(f32, 12), k=(i64, 3), e=(f32, 0))
OUT = buffers("output", y=(f32, 12), z=(i32, 3))
TEMPORARY = buffers("temporary", t=(f32, 12))


def load(name: str = "a", buffer: str = "x", **terms: int) -> Load:
    return Load(name, buffer, at(**terms))


def loop(*body: Statement, extent: int = 12, carries: tuple[Carry, ...] = (), vector: bool = True) -> Loop:
    return Loop("i", extent, body, carries, vector)


def carry(combine: Any = "sum", dtype: DType = f32, init: Any = None, update: Any = "a") -> Carry:
    return Carry("s", dtype, combine, lit(0, dtype) if init is None else init, update)


ONE = lit(1, f32)
STORE = Store("y", at(i=1), "a")

GOOD = {
    "map": nest(loop(load(i=1), STORE)),
    "reduction": nest(loop(load(i=1), carries=(carry(),)), Store("y", at(), "s")),
    "no rounds": nest(loop(load(buffer="e", i=5), STORE, extent=0)),
    "in place": (
        nest(loop(load(i=1), Store("t", at(i=1), "a"))),
        nest(loop(load("b", "t", i=1), Store("t", at(i=1), "b"))),
    ),
    "running value": nest(loop(Let("u", f32, "add", ("s", ONE)), carries=(carry("last", update="u"),), vector=False)),
    "two lanes wide": nest(loop(load(i=1), Store("y", at(11, i=-1), "a"))),
}
BAD: dict[str, tuple[Any, str]] = {
    "unknown buffer": (nest(load(buffer="w")), "there is no buffer w"),
    "written input": (nest(Store("x", at(), ONE)), "x is an input"),
    "use before definition": (nest(STORE.__class__("y", at(), "a")), "a is not defined here"),
    "use after the loop": (nest(loop(load(i=1), STORE), Store("y", at(), "a")), "a is not defined here"),
    "defined twice": (nest(load(), load()), "a is defined twice"),
    "no identifier": (nest(load("a b")), "no identifier"),
    "too far": (nest(loop(load(offset=1, i=1))), r"x\[i \+ 1\] reaches 1..12 of 12"),
    "too low": (nest(loop(load(offset=10, i=-1))), r"x\[10 - i\] reaches -1..10 of 12"),
    "unknown variable": (nest(load(j=1)), "j is no loop variable"),
    "empty buffer": (nest(load(buffer="e")), "reaches 0..0 of 0"),
    "dynamic type": (nest(load(), Load("b", "x", at(), dynamic="a")), "dynamic index a is not i64"),
    "mask type": (nest(load(), Store("y", at(), "a", mask="a")), "mask a is not bool"),
    "stored type": (nest(Store("z", at(), ONE)), "f32 stored to i32"),
    "operator": (nest(Let("a", f32, "frobnicate", ())), "not an operator"),
    "arity": (nest(Let("a", f32, "add", (ONE,))), "add takes 2"),
    "mixed types": (nest(Let("a", f32, "add", (ONE, lit(1, f64)))), r"add of \(f32, f64\) to f32"),
    "result type": (nest(Let("a", f64, "add", (ONE, ONE))), r"add of \(f32, f32\) to f64"),
    "kind": (nest(Let("a", b1, "add", (lit(True, b1), lit(True, b1)))), "add of"),
    "comparison": (nest(Let("a", f32, "lt", (ONE, ONE))), "lt of"),
    "select": (nest(Let("a", f32, "select", (ONE, ONE, ONE))), "select of"),
    "bitcast": (nest(Let("a", f64, "bitcast", (ONE,))), "bitcast of"),
    "pair": (nest(Let("p", u32, "threefry2x32", (lit(1, u32),) * 4), Let("q", u32, "add", ("p", "p"))), "p is a pair"),
    "no pair": (nest(Let("a", u32, "pair0", (lit(1, u32),))), "is not a pair"),
    "bool position": (nest(Position("a", b1, at())), "a position is a number"),
    "carry type": (nest(loop(load(i=1), carries=(carry(init=lit(0, f64)),))), "s starts as f64"),
    "update type": (nest(loop(load(i=1), carries=(carry(dtype=f64),))), "s goes on as f32"),
    "combine": (nest(loop(load(i=1), carries=(carry("and"),))), "no and of f32"),
    "running sum": (nest(loop(load(i=1), Let("b", f32, "add", ("s", "a")), carries=(carry(),))), "s is not defined"),
    "vector in vector": (
        nest(loop(Loop("j", 2, (load(i=1),), vector=True))),
        "a vector loop within a vector loop",
    ),
    "fma of halves": (nest(Let("b", f16, "fma", (lit(1, f16),) * 3)), "wrong types: fma of"),
    "product of halves": (
        nest(Loop("i", 3, (), (replace(carry("sum", f16, update=lit(1, f16)), factor=lit(1, f16)),))),
        "no sum of products of f16",
    ),
    "product of products": (
        nest(loop(load(i=1), carries=(replace(carry("prod"), factor="a"),))),
        "no prod of products of f32",
    ),
    "factor type": (
        nest(loop(load(i=1), carries=(replace(carry(), factor=lit(1, f64)),))),
        "s goes on as f64, not f32",
    ),
    "last in lanes": (nest(loop(load(i=1), carries=(carry("last"),))), "a vector loop with a last carry"),
    "one place": (nest(loop(load(i=1), Store("y", at(), "a"))), "every lane stores to the same element of y"),
    "dependence": (
        (nest(loop(Store("t", at(i=1), ONE))), nest(loop(load("a", "t"), Store("t", at(i=1), "a")))),
        "depend on each other through t",
    ),
    "variable twice": (nest(loop(Loop("i", 2, ()), extent=2)), "i is defined twice"),
    "read before written": (nest(loop(load("a", "t", i=1), STORE)), "t is read before anything is written"),
    "copy": (Copy("y", "k"), "copy between buffers of different type"),
    "guard type": (GuardStep(0, "k", lit(True, b1)), "guard expects bool of i64"),
    "guard on a float": (GuardStep(0, "x", ONE), "predicate is bool or integer"),
    "result of a callback": (HostCall(0, "f", ("x",), ("x",)), "x is an input"),
    "results of a callback": (HostCall(0, "f", (), ("y", "y")), "results of a callback overlap"),
    "operand of a callback": (HostCall(0, "f", ("t",), ("y",)), "t is read before anything is written"),
    "gemm of integers": (Gemm(i32, 1, 1, 1, *[Matrix("z", 0, 1)] * 3), "computes in floats"),
    "gemm type": (Gemm(f64, 1, 1, 1, Matrix("x", 0, 1), Matrix("x", 0, 1), Matrix("y", 0, 1)), "x is f32 in a gemm"),
    "gemm bounds": (Gemm(f32, 3, 3, 4, Matrix("x", 1, 4), Matrix("x", 0, 3), Matrix("y", 0, 3)), "leaves x"),
    "gemm overlap": (Gemm(f32, 1, 1, 1, Matrix("x", 0, 1), Matrix("y", 0, 1), Matrix("y", 1, 1)), "overlaps"),
    "gemm symmetry": (
        Gemm(f32, 2, 2, 2, Matrix("x", 0, 2), Matrix("x", 0, 2), Matrix("y", 0, 2), symmetric=True),
        "are transposes",
    ),
    "gemm rows": (Gemm(f32, 2, 2, 2, Matrix("x", 0, 1), Matrix("x", 0, 2), Matrix("y", 0, 2)), "rows of x overlap"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_programs_pass(name: str) -> None:
    steps = GOOD[name] if isinstance(GOOD[name], tuple) else (GOOD[name],)
    check_program(program(IN, OUT, TEMPORARY, *steps))


@pytest.mark.parametrize("name", BAD)
def test_broken_rules_are_reported(name: str) -> None:
    steps, message = BAD[name]
    p = program(IN, OUT, TEMPORARY, *(steps if isinstance(steps, tuple) else (steps,)))
    with pytest.raises(VerifyError, match=message) as caught:
        check_program(p)
    assert str(caught.value).count("<-- here") == 1


def test_the_guilty_line_is_marked_and_the_users_named() -> None:
    guilty = Store("y", at(i=1), "b", loc="model.py:7")
    with pytest.raises(VerifyError) as caught:
        check_program(program(IN, OUT, nest(loop(load(i=1), guilty))))
    text = str(caught.value)
    assert text.startswith("model.py:7: b is not defined here\n")
    marked = next(line for line in text.splitlines() if "<-- here" in line)
    assert marked.split() == ["y[i]", "=", "b", ";", "model.py:7", "<--", "here"]


@pytest.mark.parametrize(
    ("buffers_", "message"),
    [
        (buffers("output", y=(f32, 1)) + buffers("input", x=(f32, 1)), "inputs, outputs, temporaries"),
        (buffers("input", x=(f32, 1)) * 2, "two buffers have one name"),
        (buffers("input", x=(f32, -1)), "negative size"),
        (buffers("input", **{"a-b": (f32, 1)}), "no identifier"),
    ],
)
def test_buffers_are_checked(buffers_: list[Any], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        check_program(program(buffers_))


def test_every_operator_has_its_kinds() -> None:
    apart = {"cast", "bitcast", "select", "threefry2x32"}
    assert set(KINDS) - apart == set({**ARITHMETIC, **COMPARISONS, **ELEMENTARY}) - apart


def test_the_text_of_every_statement_and_step() -> None:
    p = program(
        buffers("input", x=(f32, 12), k=(i64, 3)),
        buffers("output", y=(f32, 12), g=(b1, 1)),
        buffers("temporary", t=(f32, 4)),
        nest(
            Loop(
                "i",
                3,
                (
                    Position("n", f32, at(-1, i=2), loc="model.py:1"),
                    Load("d", "k", at(i=1)),
                    Load("a", "x", at(2), dynamic="d"),
                    Let("m", b1, "lt", ("a", ONE)),
                    Store("y", at(11, i=-3), "n", mask="m"),
                ),
                (
                    carry("last", init=ONE),
                    Carry("r", f32, "max", lit(0, f32), "a"),
                    Carry("p", f32, "sum", lit(0, f32), "a", ONE),
                ),
                reverse=True,
            ),
            Store("t", at(), "r"),
        ),
        Copy("y", "x"),
        Gemm(f32, 2, 2, 3, Matrix("x", 0, 3), Matrix("x", 6, 3, True), Matrix("t", 0, 2)),
        HostCall(2, "f", ("x", "k"), ("t",), loc="model.py:8"),
        GuardStep(0, "g", lit(True, b1), loc="model.py:9"),
        name="all",
    )
    assert (
        format_program(p)
        == """\
program @all(x: f32[12], k: i64[3]) -> (y: f32[12], g: bool[1])
  temporary t: f32[4]
  nest
    for i in 3 reverse, s: f32 = last(1.0:f32, a), r: f32 = max(0.0:f32, a), p: f32 = sum(0.0:f32, a * 1.0:f32):
      n: f32 = position(2*i - 1)                         ; model.py:1
      d = k[i]
      a = x[d + 2]
      m: bool = lt(a, 1.0:f32)
      y[11 - 3*i] = n where m
    t[0] = r
  copy y = x
  gemm f32 t[2,2; row 2] = x[2,3; row 3] @ x+6[2,3; row 3].T
  host 2 @f (x, k) -> (t)                                ; model.py:8
  guard 0: g[0] is True:bool                             ; model.py:9"""
    )
