"""Tables that do not grow without end, and interned objects that go when nobody uses them."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from graphad.ir import types
from graphad.ir.bounded import BoundedDict
from graphad.ir.builder import Builder
from graphad.ir.primitive import PRIMITIVES
from graphad.ir.types import aval, f32, f64, literal
from graphad.primitives.control import jit
from graphad.primitives.elementwise import add, sin
from graphad.primitives.shape import reshape

MANY = 3 * types._RECENT


def test_the_oldest_quarter_goes():
    table = BoundedDict(8)
    for n in range(9):
        table[n] = -n
    assert table == {n: -n for n in range(2, 9)}
    table[8] = 5  # no new entry, so nothing goes
    assert list(table) == list(range(2, 9))
    assert table[8] == 5


def test_a_table_of_one():
    table = BoundedDict(1)
    for n in range(3):
        table[n] = n
        assert table == {n: n}


def test_literals_nobody_uses_go_and_those_in_use_stay_the_same():
    kept = {x: literal(x, f32) for x in (0.1234567, -7.5, float("inf"), 0.0)}
    for n in range(MANY):
        literal(1.0 + n * 1e-3, f64)
    gc.collect()
    assert len(types._literals) < 2 * types._RECENT
    assert len(types._recent_literals) <= types._RECENT
    for x, first in kept.items():
        assert literal(x, f32) is first
        assert literal(np.float32(x), f32) is first


def test_avals_nobody_uses_go_and_those_in_use_stay_the_same():
    kept = aval((3, 1, 4, 1, 5), f32)
    for n in range(MANY):
        reshape(Builder().input_ref(aval((n,), f32)), shape=(1, n))
    gc.collect()
    assert len(types._recent_avals) <= types._RECENT
    assert len(PRIMITIVES["reshape"]._memo) <= 4096
    assert aval((3, 1, 4, 1, 5), f32) is kept
    assert len(types._avals) < MANY


def test_types_that_were_inferred_keep_no_program_alive():
    def emitted():
        inner = Builder()
        region = inner.close([sin(inner.input_ref(aval((3,), f32))).atom], name="inner")
        outer = Builder()
        x = outer.input_ref(aval((3,), f32))
        add(x, x)
        outer.emit(jit, (x.atom,), ("inner",), (region,))
        return weakref.ref(region)

    region = emitted()
    gc.collect()
    assert region() is None
