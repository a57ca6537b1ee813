"""Loops that end when a test says so, and branches: of one thread, of a group alike, and of each thread of a group."""

from __future__ import annotations

import re

import numpy as np
import pytest

from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.ir import DeviceStatement
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.loops.ir import Carry, Let, Load, Loop, Position, Store, While
from graphad.errors import VerifyError
from graphad.ir.types import b1, f64, i64
from tests.cuda.emit.harness import at, axes, buffers, emitted, kernel, lit, program, run, same, spread

names = pytest.mark.parametrize
X = np.asarray([0.5, 1.0, 3.0, 1e6, np.inf, 7.0, -2.0, 100.0, np.nan, 40.0, 2.0])
TURNS = np.asarray([0, 0, 2, 20, 60, 3, 0, 7, 0, 6, 1])


def halved(value: str, prefix: str = "", stored: list[DeviceStatement] | None = None) -> list[DeviceStatement]:
    """``{prefix}v`` is ``value`` halved until it is at most 1, 60 times at most, and ``{prefix}k`` how often it was."""
    p = prefix
    body = [
        Let(f"{p}half", f64, "mul", (f"{p}v", lit(0.5, f64))),
        Let(f"{p}next", i64, "add", (f"{p}k", lit(1, i64))),
        Let(f"{p}large", b1, "gt", (f"{p}half", lit(1.0, f64))),
        Let(f"{p}few", b1, "lt", (f"{p}next", lit(60, i64))),
        Let(f"{p}again", b1, "and", (f"{p}large", f"{p}few")),
        *(stored or []),
    ]
    carries = [
        Carry(f"{p}more", b1, "last", f"{p}first", f"{p}again"),
        Carry(f"{p}v", f64, "last", value, f"{p}half"),
        Carry(f"{p}k", i64, "last", lit(0, i64), f"{p}next"),
    ]
    first = Let(f"{p}first", b1, "gt", (value, lit(1.0, f64)))
    return [first, While(f"{p}more", tuple(body), tuple(carries))]  # pyright: ignore[reportArgumentType]


def branch(condition: str, value: str) -> While:
    """``r`` is three times ``value`` where ``condition`` holds, else ``value``."""
    carries = (
        Carry("taken", b1, "last", condition, lit(False, b1)),
        Carry("r", f64, "last", value, "triple"),
    )
    return While("taken", (Let("triple", f64, "mul", ("r", lit(3.0, f64))),), carries)


def inputs_and_outputs(n: int) -> tuple[list[object], ...]:
    return buffers("input", x=(f64, n)), buffers("output", v_=(f64, n), k_=(i64, n))  # pyright: ignore[reportReturnType]


@names("threads", [32, 64])
def test_each_thread_takes_as_many_turns_as_its_point_needs(threads: int) -> None:
    n = X.size
    body = [Load("a", "x", at(i=1)), *halved("a"), Store("v_", at(i=1), "v"), Store("k_", at(i=1), "k")]
    p = program(*inputs_and_outputs(n), kernel(axes(i=n), *body, uses=["x", "v_", "k_"], threads=threads))
    check_device_program(p)
    v, k = run(p, [X])
    same(k, TURNS)
    same(v, X * 0.5**TURNS)


def test_stores_in_a_loop_and_a_loop_in_it() -> None:
    """Every turn stores at its place; a loop of known length inside makes it one hundred times as much."""
    n = X.size
    inner = Loop(
        "j", 10, (Let("more_s", f64, "add", ("s", "half")),), (Carry("s", f64, "last", lit(0.0, f64), "more_s"),)
    )
    stored = [inner, Store("trace", at(i=60), "s", "k")]
    body = [Load("a", "x", at(i=1)), *halved("a", stored=stored)]
    outputs = buffers("output", trace=(f64, 60 * n))
    p = program(buffers("input", x=(f64, n)), outputs, kernel(axes(i=n), *body, uses=["x", "trace"]))
    check_device_program(p)
    trace = run(p, [X])[0].reshape(n, 60)
    for row, x, turns in zip(trace, X, TURNS, strict=True):
        same(row[:turns], 10 * x * 0.5 ** np.arange(1, turns + 1), rtol=1e-14)


@names("group, threads", [(2, 64), (32, 64), (64, 64)])
def test_a_group_runs_it_alike_and_one_thread_stores(group: int, threads: int) -> None:
    n = X.size
    body = [Load("a", "x", at(i=1)), *halved("a"), Store("v_", at(i=1), "v"), Store("k_", at(i=1), "k")]
    p = program(*inputs_and_outputs(n), kernel(axes(i=n), *body, uses=["x", "v_", "k_"], group=group, threads=threads))
    v, k = run(p, [X])
    same(k, TURNS)
    same(v, X * 0.5**TURNS)


@names("group, threads", [(1, 32), (4, 32), (32, 64), (96, 96)])
def test_threads_of_a_group_take_different_numbers_of_turns(group: int, threads: int) -> None:
    """Points that are shared out, with a sum over all of them behind loops and branches that diverge."""
    n = X.size
    inside = [Load("a", "x", at(i=1)), *halved("a"), Let("odd", b1, "lt", ("k", lit(3, i64))), branch("odd", "v")]
    inside += [Store("v_", at(i=1), "r"), Store("k_", at(i=1), "k")]
    total = Carry("total", i64, "sum", lit(1, i64), "k")
    body = [spread(inside, total, i=n), Store("t_", at(), "total")]
    outputs = buffers("output", v_=(f64, n), k_=(i64, n), t_=(i64, 1))
    uses = ["x", "v_", "k_", "t_"]
    p = program(
        buffers("input", x=(f64, n)), outputs, kernel((), *body, uses=uses, group=group, threads=threads)
    )  # fmt: skip
    if group > 1:
        check_device_program(p)
    v, k, t = run(p, [X])
    same(k, TURNS)
    same(v, X * 0.5**TURNS * np.where(TURNS < 3, 3, 1))
    same(t, np.asarray([1 + TURNS.sum()]))


def test_the_texts() -> None:
    n = X.size
    body = [Load("a", "x", at(i=1)), *halved("a"), Let("odd", b1, "lt", ("k", lit(3, i64))), branch("odd", "v")]
    p = program(
        *inputs_and_outputs(n)[:1],
        buffers("output", v_=(f64, n)),
        kernel(axes(i=n), *body, Store("v_", at(i=1), "r"), uses=["x", "v_"]),
    )
    text = format_device_program(p)
    assert re.search(r"while more, more: bool = last\(first, again\), v: f64 = last\(a, half\)", text)
    assert re.search(r"if taken, taken: bool = last\(odd, False:bool\)", text)
    assert emitted(p).llvm.count("br i1") == 3  # whether there is a point, the test, and the branch


def test_what_threads_share_out_is_not_in_it() -> None:
    n = X.size
    shared = spread([Load("b", "x", at(i=1)), Store("v_", at(i=1), "b")], i=n)
    body = [Load("a", "x", at()), *halved("a", stored=[shared])]
    p = program(
        buffers("input", x=(f64, n)), buffers("output", v_=(f64, n)), kernel((), *body, uses=["x", "v_"], group=32)
    )  # fmt: skip
    with pytest.raises(VerifyError, match="shared out stands inside of another loop"):
        check_device_program(p)
    body = [Load("a", "x", at(i=1)), *halved("a"), Store("v_", at(i=1), "v")]
    lanes = kernel(axes(i=n - 1), *body, uses=["x", "v_"], lanes=2)
    p = program(buffers("input", x=(f64, n)), buffers("output", v_=(f64, n)), lanes)
    with pytest.raises(VerifyError, match="a thread with several points has no loops"):
        check_device_program(p)


def test_positions_in_it_are_those_of_the_loops_around() -> None:
    stored = [Position("at", i64, at(3, i=2)), Store("k_", at(i=1), "at")]
    n = X.size
    body = [Load("a", "x", at(i=1)), *halved("a", stored=stored)]
    p = program(
        buffers("input", x=(f64, n)), buffers("output", k_=(i64, n)), kernel(axes(i=n), *body, uses=["x", "k_"])
    )
    (k,) = run(p, [X])
    same(k[TURNS > 0], (3 + 2 * np.arange(n))[TURNS > 0])
