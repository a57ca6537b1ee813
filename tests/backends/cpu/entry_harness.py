"""Programs to be entered, and what the tests of entries hand them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from graphad.backends.boxes import Box, Input, Output
from graphad.backends.cpu.entry.make import Program, call_through_ctypes, make_entry
from tests.backends.loading import load

F32, F64, I32, I64, BOOL = (np.dtype(t) for t in ("f4", "f8", "i4", "i8", "?"))
BF16 = np.dtype(ml_dtypes.bfloat16)
LLVM = {F32: "float", F64: "double", I32: "i32", I64: "i64", BOOL: "i8", BF16: "i16"}
MAKERS = [make_entry, call_through_ctypes]
both = pytest.mark.parametrize("make", MAKERS)


def copy_program(dtype, size, inputs=1, extra_slots=0, status=0):
    """``output[i] = input_last[i]``, through the arena, ``size`` times; returns ``status``."""
    table = inputs + 1
    return f"""
define i64 @copy(ptr %T) {{
entry:
  %gi = getelementptr ptr, ptr %T, i64 {inputs - 1}
  %in = load ptr, ptr %gi
  %go = getelementptr ptr, ptr %T, i64 {inputs}
  %out = load ptr, ptr %go
  %ga = getelementptr ptr, ptr %T, i64 {table}
  %arena = load ptr, ptr %ga
  %any = icmp ugt i64 {size}, 0
  br i1 %any, label %loop, label %end
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %a = getelementptr {LLVM[dtype]}, ptr %in, i64 %i
  %x = load {LLVM[dtype]}, ptr %a
  store volatile {LLVM[dtype]} %x, ptr %arena
  %y = load volatile {LLVM[dtype]}, ptr %arena
  %b = getelementptr {LLVM[dtype]}, ptr %out, i64 %i
  store {LLVM[dtype]} %y, ptr %b
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, {size}
  br i1 %more, label %loop, label %end
end:
  ret i64 {status}
}}
"""


class Slow(Exception):
    """What the fallback of the tests raises, with the arguments it got."""


def refuse(*args, **kwargs):
    raise Slow(args, kwargs)


def program(dtype=F32, shape=(3,), inputs=1, status=0, **options):
    size = int(np.prod(shape))
    loaded = load(copy_program(dtype, size, inputs, status=status), "copy")
    given_inputs = options.pop("given_inputs", None) or (Input(dtype, shape),) * inputs
    given_outputs = options.pop("given_outputs", None) or (Output(dtype, shape),)
    return Program(
        name="copy",
        address=loaded.address,
        inputs=given_inputs,
        outputs=given_outputs,
        fallback=options.pop("fallback", refuse),
        arena_bytes=options.pop("arena_bytes", 64),
        keep=(loaded,),
        **options,
    )


class Boxed:
    __slots__ = ("__weakref__", "array", "mark", "other")

    def __init__(self, array=None, mark=False):
        self.array, self.mark = array, mark


BOX = Box(Boxed, "array", "mark")


def raise_it(_array):
    raise KeyError("wrap")
