"""Recurrences: none is left to one thread where others could help, and what is not a scan is not taken for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphad
from graphad import lax
from graphad.backends.cuda.program.ir import Kernel, Scan
from graphad.backends.cuda.program.scans import scan_of, scan_steps
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Buffer, Carry, Index, KernelProgram, Let, Load, Loop, LoopNest, Store
from graphad.backends.loops.visit import walk
from graphad.backends.lower.fuse import lower
from graphad.ir.types import f32, f64, i32, literal
from tests.cuda.schedule.test_schedule_primitives import TINY, compare
from tests.thinned import every

names = pytest.mark.parametrize
EMULATED = "cuda:emulated"
FUNCTIONS = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
#: Limits under which some thousands of elements are many chunks.
CHUNKED = replace(LIMITS, long=256, chunk=64, chunks=40)


def forms(name, axis, reverse=False):
    """A cumulative function, its jvp and its vjp."""

    def f(x):
        return getattr(lax, name)(x, axis=axis, reverse=reverse)

    return {
        "value": lambda x, t: f(x),
        "jvp": lambda x, t: graphad.jvp(f, (x,), (t,)),
        "vjp": lambda x, t: graphad.vjp(f, x)[1](t),
    }


def operands(shape, dtype=np.float32):
    """Numbers about 1 with ties, whose products neither overflow nor vanish."""
    rng = np.random.default_rng(sum(shape))
    x = 1 + np.round(rng.standard_normal(shape) * 8) / 4000
    return x.astype(dtype), rng.standard_normal(shape).astype(dtype)


def program(function, *args):
    """The loop program of a function without arrays of its own."""
    lowered = lower(graphad.jit(function).graph(*args)).program
    assert sum(b.role == "input" for b in lowered.buffers) == len(args), "a constant is another input"
    return lowered


def one_by_one(device):
    """The kernels in which a thread goes through more than a few elements by itself."""
    loops = [(k, s) for k in device.steps if isinstance(k, Kernel) for s in walk(k.body) if isinstance(s, Loop)]
    return [k.name for k, loop in loops if loop.extent > 64]


@names("form", ["value", "jvp", "vjp"])
@names("name", FUNCTIONS)
@names(("shape", "axis"), [((1_000_003,), 0), ((1000, 1000), 0), ((1000, 1000), 1), ((70, 30, 1000), 2)])
def test_threads_share_every_recurrence(name, form, shape, axis):
    x = np.broadcast_to(np.float32(1), shape)
    device = schedule(program(forms(name, axis)[form], x, x))
    assert not one_by_one(device), format_device_program(device)
    assert any(isinstance(s, Scan) for k in device.kernels for s in walk(k.body))


@names("limits", [LIMITS, CHUNKED, pytest.param(TINY, marks=pytest.mark.slow)], ids=["usual", "chunked", "tiny"])
@names("reverse", [False, True])
@names("form", ["value", "jvp", "vjp"])
@names("name", FUNCTIONS)
def test_schedule_keeps_the_program(name, form, reverse, limits):
    for shape, axis in (((2003,), 0), ((67, 33), 0), ((3, 700), 1)):
        args = operands(shape, np.float64)
        compare(program(forms(name, axis, reverse)[form], *args), args, limits, rtol=1e-9)


@names("form", every(2, ["vjp", "jvp"]))
@names("name", FUNCTIONS)
def test_derivatives_on_a_device_are_the_cpus(name, form):
    for shape, axis in (((20_011,), 0), ((130, 67), 0), ((5, 301), 1)):
        x, t = operands(shape)
        function = forms(name, axis)[form]
        got = graphad.tree.leaves(graphad.jit(function, device=EMULATED)(x, t))
        want = graphad.tree.leaves(graphad.jit(function)(*(a.astype(np.float64) for a in (x, t))))
        for a, b in zip(got, want, strict=True):
            scale = float(np.max(np.abs(b)))
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=3e-5 * scale)


@names("name", ["cummax", "cummin"])
def test_ties_and_nan_are_exactly_the_cpus(name):
    x = np.round(np.random.default_rng(5).standard_normal((4, 900)) * 3).astype(np.float32)
    x[1, 500], x[2, 3], x[3, 80] = np.nan, np.inf, -np.inf
    t = np.arange(x.size, dtype=np.float32).reshape(x.shape) % 16  # sums are exact
    for form in ("jvp", "vjp"):
        function = forms(name, 1)[form]
        got, want = graphad.jit(function, device=EMULATED)(x, t), graphad.jit(function)(x, t)
        for a, b in zip(graphad.tree.leaves(got), graphad.tree.leaves(want), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-6)


# ---- what is a scan

X = Load("x", "in0", Index(0, (("i", 1),)))
D = Load("d", "in1", Index(0, (("i", 1),)))
RUNNING = Carry("s", f32, "last", literal(0.0, f32), "y")


def loop(*body, carries=(RUNNING,)):
    return Loop("i", 100, tuple(body), tuple(carries))


@names("combine", ["sum", "prod", "max", "min", "logsumexp", "linear"])
@names("dtype", [f32, f64], ids=str)
def test_steps_are_known_again(combine, dtype):
    decay = "d" if combine == "linear" else None
    steps = scan_steps(combine, "y", dtype, "s", "x", decay, None)
    scan = scan_of(loop(D, X, *steps, carries=[replace(RUNNING, dtype=dtype)]))
    assert (scan.combine, scan.value, scan.decay, scan.inclusive) == (combine, "x", decay, "y")
    assert scan.steps == steps


def test_a_constant_decay_is_one():
    half = literal(0.5, f32)
    scan = scan_of(loop(X, *scan_steps("linear", "y", f32, "s", "x", half, None)))
    assert (scan.decay, scan.value) == (half, "x")
    one = literal(1.0, f32)
    assert scan_of(loop(D, *scan_steps("linear", "y", f32, "s", one, "d", None))).value is one


def test_combining_carries_may_stand_beside_it():
    total = Carry("n", f32, "prod", literal(1.0, f32), "d")
    assert scan_of(loop(D, X, *scan_steps("linear", "y", f32, "s", "x", "d", None), carries=[total, RUNNING]))


MUL, ADD = Let("m", f32, "mul", ("d", "s")), Let("y", f32, "add", ("m", "x"))
FMA = Let("y", f32, "fma", ("d", "s", "x"))
OTHERS = {
    "another operator": (X, Let("y", f32, "sub", ("s", "x"))),
    "the product doubled": (D, X, replace(FMA, args=("s", "s", "x"))),
    "the sum of another product": (D, X, replace(FMA, args=("d", "x", "x"))),
    "minus": (D, X, MUL, Let("y", f32, "sub", ("m", "x"))),
    "a step rounded twice": (D, X, MUL, ADD),
    "a value that depends on what runs": (D, Let("x", f32, "sin", ("s",)), FMA),
    "a decay that depends on what runs": (X, Let("d", f32, "sin", ("s",)), FMA),
    "what does not run": (X, Let("y", f32, "add", ("x", "x"))),
    "another dtype": (X, Let("y", i32, "add", ("s", "x"))),
    "nothing that moves": (replace(FMA, args=("around", "s", "outside")),),
}


@names("name", OTHERS)
def test_other_recurrences_are_none(name):
    assert scan_of(loop(*OTHERS[name])) is None


def test_two_that_run_are_none():
    body = (D, X, FMA, Let("z", f32, "add", ("r", "x")))
    assert scan_of(loop(*body, carries=[RUNNING, replace(RUNNING, name="r", update="z")])) is None


def test_steps_that_others_read_stay():
    """The product that a step computes on its way is also stored."""
    roles = {"in0": "input", "in1": "input", "out0": "output", "out1": "output"}
    buffers = tuple([Buffer(name, i32, 100, role) for name, role in roles.items()])
    carry, steps = replace(RUNNING, dtype=i32, init=literal(1, i32)), [replace(s, dtype=i32) for s in (MUL, ADD)]
    body = (D, X, *steps, *[Store(b, Index(0, (("i", 1),)), name) for b, name in (("out0", "m"), ("out1", "y"))])
    inputs = np.random.default_rng(0).integers(-3, 4, (2, 100), np.int32)
    device = compare(KernelProgram("p", buffers, (LoopNest((loop(*body, carries=[carry]),)),)), inputs, LIMITS)
    (spread,) = device.kernels[0].body
    assert [type(s) for s in spread.body] == [Load, Load, Scan, Let, Store, Store]
