"""Transposed reads by way of shared memory: the same values, neighbours for neighbours, and only where it pays."""

from __future__ import annotations

from dataclasses import replace
from math import gcd

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import nn
from graphad.backends.cuda import toolkit
from graphad.backends.cuda.emulator import EmulatorError
from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.program.ir import Barrier, Spread
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.ptx.assemble import assemble
from graphad.backends.cuda.ptx.emit import emit
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Load, Store
from graphad.errors import DeviceError
from tests.cuda.emit.harness import run
from tests.cuda.schedule.test_scans import program
from tests.cuda.schedule.test_schedule_primitives import compare

names = pytest.mark.parametrize
EMULATED = "cuda:emulated"
#: Limits under which small arrays have many tiles.
SMALL = replace(LIMITS, tile=4, plenty=16, crowd=0)


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


SQUARE, WIDE, PRIMES = normal(64, 128), normal(70, 100), normal(67, 131)
IMAGES = normal(3, 9, 11, 40)  # NHWC

#: Function, arguments, and how many arrays go by tiles.
CROSSED = {
    "whole tiles": (lambda x, y: x.T + y, (SQUARE, SQUARE.T.copy()), 1),
    "tiles and edges": (lambda x, y: x.T * 2 + y, (WIDE, WIDE.T.copy()), 1),
    "primes": (lambda x, y: gnp.sin(x.T) - y, (PRIMES, PRIMES.T.copy()), 1),
    "nothing else": (lambda x: x.T * 1.5, (WIDE,), 1),
    "two transposed": (lambda x, y, z: x.T * y.T + z, (WIDE, WIDE + 1, WIDE.T.copy()), 2),
    "all transposed": (lambda x, y, z: (x * y).T + (y - z).T, (WIDE, WIDE + 1, WIDE - 1), 3),
    "a row beside it": (lambda x, b: x.T + b, (WIDE, normal(70)), 1),
    "a column beside it": (lambda x, b: x.T + b[:, None], (WIDE, normal(100)), 1),
    "mirrored": (lambda x, y: x.T[::-1, ::-1] + y, (WIDE, WIDE.T.copy()), 1),
    "a part": (lambda x, y: x[3:, 7:].T + y[7:, 3:], (WIDE, WIDE.T.copy()), 1),
    "channels last to first": (lambda x: gnp.transpose(x, (0, 3, 1, 2)) * 2, (IMAGES,), 1),
    "channels first to last": (lambda x: gnp.transpose(x, (0, 2, 3, 1)) + 1, (normal(3, 35, 6, 11),), 1),
    "axes reversed": (lambda x: gnp.transpose(x, (2, 1, 0)) * x[0, 0, 0], (normal(40, 5, 33),), 1),
    "a batch": (lambda x, y: gnp.swapaxes(x, 1, 2) - y, (normal(3, 35, 50), normal(3, 50, 35)), 1),
    "a gradient": (graphad.grad(lambda x, y: (nn.gelu(x.T + y) * y).sum()), (WIDE, WIDE.T.copy()), 1),
}


def tiled_kernels(device):
    return [k for k in device.kernels if any(b.name.startswith("tile") for b in k.shared)]


@names("name", CROSSED)
def test_neighbours_touch_neighbours(name):
    """In kernels with tiles, every access of global memory moves by one element, or by none, from thread to thread."""
    function, args, count = CROSSED[name]
    device = compare(program(function, *args), args, LIMITS)
    (kernel,) = tiled_kernels(device)
    assert len(kernel.shared) == count, format_device_program(device)
    tiles = {b.name for b in kernel.shared}
    fill, barrier, use = kernel.body
    assert isinstance(barrier, Barrier)
    for loop in (fill, use):
        assert isinstance(loop, Spread)
        fast = loop.axes[-1].var
        for s in loop.body:
            if isinstance(s, (Load, Store)):
                stride = abs(dict(s.index.terms).get(fast, 0))
                if s.buffer in tiles:
                    assert gcd(stride, 32) == 1, "threads of a warp touch different banks"
                else:
                    assert stride < 2
    assert costs(device).excess < 1.01, "nothing is moved twice"


@names("name", CROSSED)
def test_small_tiles(name):
    function, args, _ = CROSSED[name]
    part = [a[tuple([slice(0, 13) for _ in a.shape])] for a in args]
    device = compare(program(function, *part), part, SMALL)
    if name != "a gradient":
        assert tiled_kernels(device)


@names("dtype", [np.float32, np.float64, np.float16, np.int8, np.bool_, np.int64])
@names("shape", [(67, 131), (32, 160), (64, 95)])
def test_on_a_device(shape, dtype):
    rng = np.random.default_rng(0)
    x, y = ((rng.standard_normal(s) * 3).astype(dtype) for s in (shape, shape[::-1]))
    function = (lambda x, y: x.T ^ y) if dtype == np.bool_ else (lambda x, y: x.T - y)
    np.testing.assert_array_equal(
        np.asarray(graphad.jit(function, device=EMULATED)(x, y)), np.asarray(graphad.jit(function)(x, y))
    )


@names("name", ["two transposed", "channels last to first", "mirrored", "axes reversed"])
def test_every_form_on_a_device(name):
    function, args, _ = CROSSED[name]
    got = np.asarray(graphad.jit(function, device=EMULATED)(*args))
    np.testing.assert_allclose(got, np.asarray(graphad.jit(function)(*args)), rtol=1e-6)


def test_the_barrier_is_needed():
    function, args, _ = CROSSED["whole tiles"]
    device = schedule(program(function, *args), limits=replace(LIMITS, crowd=0))
    (kernel,) = device.steps
    without = replace(kernel, body=tuple([s for s in kernel.body if not isinstance(s, Barrier)]))
    flat = [np.ascontiguousarray(a).reshape(-1) for a in args]
    run(device, flat)
    with pytest.raises(EmulatorError):
        run(replace(device, steps=(without,)), flat)


#: Function and arguments for which tiles do not pay, or would be wrong.
PLAIN = {
    "few elements": (lambda x: x.T + 1, (normal(40, 60),)),
    "a narrow matrix": (lambda x: x.T + 1, (normal(1000, 31),)),
    "not transposed": (lambda x, y: x + y, (WIDE, WIDE)),
    "outer axes only": (lambda x: gnp.swapaxes(x, 0, 1) * 2, (normal(40, 50, 8),)),
    "broadcast": (lambda x, b: x + b[:, None], (WIDE, normal(70))),
    "every other element": (lambda x: x[:, ::2].T + 1, (normal(100, 200),)),
    "gathered": (lambda x, i: x.T[i] + 1, (WIDE, np.arange(100, dtype=np.int32)[::-1].copy())),
}


@names("name", PLAIN)
def test_where_there_are_no_tiles(name):
    function, args = PLAIN[name]
    device = compare(program(function, *args), args, LIMITS)
    assert not tiled_kernels(device), format_device_program(device)


@names("architecture", ["sm_75", "sm_80", "sm_90", "sm_100"])
def test_nothing_is_spilled(architecture):
    try:
        toolkit.nvjitlink()
    except DeviceError:
        pytest.skip("the assembler is not installed")
    for name in ("two transposed", "all transposed", "channels last to first", "axes reversed"):
        function, args, _ = CROSSED[name]
        device = schedule(program(function, *args))
        for report in assemble(emit(device, architecture=architecture, comments=False).ptx, architecture).kernels:
            assert not report.spill_stores, (name, report)
            assert report.registers <= 40, (name, report)
