"""Padded and shifted arrays read where they are made of: fewer passes, and no element that is not there."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.padding import with_padding_folded
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Buffer, Copy, Index, Let, Load, Loop, LoopNest, Store
from graphad.backends.loops.rewrites import Names
from graphad.ir.types import f32, literal
from tests.cuda.schedule.test_scans import CHUNKED, forms, operands, program
from tests.cuda.schedule.test_schedule_primitives import TINY, compare

names = pytest.mark.parametrize
EMULATED = "cuda:emulated"


def padded(*widths, value=2.0):
    """``sin`` of ``y`` padded, times ``x``."""
    return lambda x, y: gnp.pad(gnp.sin(y), widths, constant_values=value) * x


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


#: Function of arrays that is one kernel, and the arrays.
READ_IN_PLACE = {
    "before and behind": (padded((3, 5)), (numbers(208), numbers(200))),
    "before": (padded((1, 0)), (numbers(201), numbers(200))),
    "behind": (padded((0, 7)), (numbers(207), numbers(200))),
    "rows": (padded((2, 3), (0, 0)), (numbers(45, 9), numbers(40, 9))),
    "columns": (padded((0, 0), (1, 1)), (numbers(40, 11), numbers(40, 9))),
    "all sides": (padded((1, 2), (3, 0)), (numbers(43, 12), numbers(40, 9))),
    "a cube": (padded((1, 1), (0, 0), (2, 1)), (numbers(9, 5, 13), numbers(7, 5, 10))),
    "transposed": (lambda x, y: gnp.pad(y.T, ((1, 1), (0, 2))) + x, (numbers(11, 42), numbers(40, 9))),
    "a part of it": (lambda x, y: gnp.pad(y, (3, 5))[2:101] * x, (numbers(99), numbers(200))),
    "only what was padded": (lambda x, y: gnp.pad(y, (3, 5))[3:203] * x, (numbers(200), numbers(200))),
    "windows": (
        lambda x: lax.reduce_window(x, -np.inf, lax.max, (3, 3), (2, 2), ((1, 1), (1, 1))), (numbers(40, 22),),
    ),
}  # fmt: skip


@names("limits", [LIMITS, TINY], ids=["usual", "tiny"])
@names("name", READ_IN_PLACE)
def test_one_kernel(name, limits):
    function, args = READ_IN_PLACE[name]
    device = compare(program(function, *args), args, limits)
    assert not [b for b in device.buffers if b.role == "temporary" and b.name.startswith("tmp")]
    if limits is LIMITS:
        assert len(device.kernels) == 1, format_device_program(device)


@names("name", READ_IN_PLACE)
def test_on_a_device(name):
    """The emulator checks that no address is outside of its array."""
    function, args = READ_IN_PLACE[name]
    got = np.asarray(graphad.jit(function, device=EMULATED)(*args))
    np.testing.assert_allclose(got, np.asarray(graphad.jit(function)(*args)), rtol=1e-6)


@names(("form", "excess"), [("jvp", 1.3), ("vjp", 1.01)])
@names("name", ["cumprod", "cummax", "cummin", "cumlogsumexp"])
def test_derivatives_of_scans_along_rows_are_one_kernel(name, form, excess):
    """What is read and written for the vjp is what must be: the operand, the cotangent, the result."""
    x = np.broadcast_to(np.float32(1), (1000, 1000))
    device = schedule(program(forms(name, 1)[form], x, x))
    assert len(device.steps) == 1, format_device_program(device)
    assert costs(device).excess <= excess


@names(("form", "excess"), [("jvp", 4.01), ("vjp", 5.35)])
@names("name", ["cumprod", "cummax", "cummin", "cumlogsumexp"])
def test_passes_of_derivatives_of_one_long_scan(name, form, excess):
    x = np.broadcast_to(np.float32(1), 1_000_000)
    device = schedule(program(forms(name, 0)[form], x, x))
    assert costs(device).excess <= excess, format_device_program(device)


@names("reverse", [False, True])
@names("name", ["cumprod", "cummax"])
def test_chunks_look_over_their_edges(name, reverse):
    args = operands((1003,), np.float64)
    for form in forms(name, 0, reverse).values():
        compare(program(form, *args), args, CHUNKED, rtol=1e-9)


# ---- programs that the compiler would not write

I = Index(0, (("i", 1),))
FILL = LoopNest((Loop("f", 60, (Store("t", Index(0, (("f", 1),)), literal(5.0, f32)),)),))
BODY = (Load("a", "x", Index(0, (("c", 1),))), Let("b", f32, "sin", ("a",)))
MIDDLE = LoopNest(
    (
        Loop(
            "c",
            50,
            (*BODY, Store("t", Index(4, (("c", 1),)), "b")),
        ),
    )
)
USE = (Load("e", "t", I), Store("y", I, "e"))
READ = LoopNest((Loop("i", 60, USE),))


def asked(*steps):
    roles = {"x": "input", "y": "output", "z": "output", "t": "temporary"}
    buffers = {n: Buffer(n, f32, 60, role) for n, role in roles.items()}
    return with_padding_folded(steps, Names(["a", "b", "e"]), buffers)


def test_the_temporary_is_gone():
    (nest,) = asked(FILL, MIDDLE, READ)
    assert not [s for s in nest.body[0].body if getattr(s, "buffer", "") == "t"]
    assert len(asked(FILL, MIDDLE, Copy("z", "x"), READ)) == 2
    assert len(asked(FILL, MIDDLE, READ, LoopNest((Loop("i", 60, (USE[0], Store("z", I, "e"))),)))) == 2


def test_sums_of_many_windows_read_what_is_padded():
    """Each element is part of 25 sums: it pays to pad once."""

    def f(x):
        return lax.reduce_window(gnp.sin(x), 0.0, lax.add, (5, 5), (1, 1), "SAME")

    x = numbers(20, 20)
    device = compare(program(f, x), [x], LIMITS)
    assert len(device.kernels) > 1, format_device_program(device)


def changed(nest, **fields):
    return LoopNest((Loop(**{**{k: getattr(nest.body[0], k) for k in ("var", "extent", "body")}, **fields}),))


OTHERS = {
    "the source is changed between": (FILL, MIDDLE, Copy("x", "z"), READ),
    "the source is changed": (FILL, MIDDLE, changed(READ, body=(USE[0], Store("x", I, "e")))),
    "filled in part": (changed(FILL, extent=59), MIDDLE, READ),
    "written again": (FILL, MIDDLE, Copy("t", "x"), READ),
    "read before": (Copy("z", "t"), FILL, MIDDLE, READ),
    "read by a copy": (FILL, MIDDLE, Copy("z", "t")),
    "read many times": (FILL, MIDDLE, LoopNest((Loop("k", 9, (Loop("i", 60, (USE[0], Store("y", I, "e"))),)),))),
    "read backwards": (FILL, MIDDLE, changed(READ, body=(Load("e", "t", Index(59, (("i", -1),))), USE[1]))),
    "read at a computed position": (FILL, MIDDLE, changed(READ, body=(Load("e", "t", I, dynamic="n"), USE[1]))),
    "stored where a mask says": (
        FILL, changed(MIDDLE, body=(*BODY, Store("t", Index(4, (("c", 1),)), "b", mask="b"))), READ,
    ),
    "every other element": (
        FILL, changed(MIDDLE, extent=25, body=(*BODY, Store("t", Index(4, (("c", 2),)), "b"))), READ,
    ),
    "much to compute": (FILL, changed(MIDDLE, body=(*BODY * 9, MIDDLE.body[0].body[-1])), READ),
}  # fmt: skip


@names("name", OTHERS)
def test_left_as_it_is(name):
    assert asked(*OTHERS[name]) == list(OTHERS[name])
