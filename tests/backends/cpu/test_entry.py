"""The way into compiled programs: what it takes, what it gives, and what it leaves to Python."""

from __future__ import annotations

import gc
import sys
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from graphad.backends.boxes import Input, Output
from graphad.backends.cpu.entry import make as entry
from graphad.backends.cpu.entry.make import Program, make_entry, slot_offset
from graphad.backends.llvm import library
from graphad.errors import EngineWarning, GraphadError, LoweringError
from tests.backends.cpu.entry_harness import (
    BOOL,
    BOX,
    F32,
    F64,
    I32,
    I64,
    LLVM,
    MAKERS,
    Boxed,
    Slow,
    both,
    program,
    raise_it,
    refuse,
)  # fmt: skip
from tests.backends.loading import load

# ---------------------------------------------------------------------------------------------------------------------
# What it takes


@both
@pytest.mark.parametrize("dtype", list(LLVM))
@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (2, 3), (4, 0, 2), (1, 1, 1, 1, 1, 1, 2)])
def test_arrays_go_through(make, dtype, shape, rng):
    f = make(program(dtype, shape))
    x = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    y = f(x)
    assert type(y) is np.ndarray
    assert (y.dtype, y.shape) == (dtype, shape)
    assert (y == x).all()
    assert y.flags.c_contiguous
    assert y.flags.owndata
    assert y.flags.writeable
    assert f(x) is not y


@both
@pytest.mark.parametrize("inputs", [2, 7, 40])
def test_many_arguments(make, inputs):
    f = make(program(inputs=inputs))
    arrays = [np.full(3, i, np.float32) for i in range(inputs)]
    assert (f(*arrays) == inputs - 1).all()
    for wrong in (0, inputs - 1):
        with pytest.raises(Slow):
            f(*arrays[:wrong], arrays[wrong].astype(np.float64), *arrays[wrong + 1 :])


class Holder(np.ndarray):
    """A subclass, which may do anything in `__array_finalize__`."""


def misaligned():
    return np.frombuffer(bytearray(13), np.float32, 3, offset=1)


WRONG = {
    "dtype": lambda: np.zeros(3),
    "integer": lambda: np.zeros(3, np.int32),
    "byte order": lambda: np.zeros(3, ">f4"),
    "shape": lambda: np.zeros(4, np.float32),
    "ndim": lambda: np.zeros((3, 1), np.float32),
    "scalar": lambda: np.float32(1),
    "0-d": lambda: np.array(1, np.float32),
    "strided": lambda: np.zeros(6, np.float32)[::2],
    "misaligned": misaligned,
    "subclass": lambda: np.zeros(3, np.float32).view(Holder),
    "record": lambda: np.zeros(3, [("a", "f4")]),
    "object array": lambda: np.zeros(3, object),
    "list": lambda: [1.0, 2.0, 3.0],
    "float": lambda: 1.0,
    "int": lambda: 10**30,
    "None": lambda: None,
    "type": lambda: np.ndarray,
    "memoryview": lambda: memoryview(np.zeros(3, np.float32)),
    "object": lambda: object(),
}


@both
@pytest.mark.parametrize("kind", WRONG)
def test_everything_else_goes_to_the_fallback(make, kind):
    f = make(program())
    x = WRONG[kind]()
    with pytest.raises(Slow) as caught:
        f(x)
    assert caught.value.args[0][0] is x
    assert caught.value.args[1] == {}


@both
def test_wrong_counts_and_keywords_go_to_the_fallback(make):
    f = make(program())
    x = np.zeros(3, np.float32)
    for args, kwargs in (((), {}), ((x, x), {}), ((), {"x": x}), ((x,), {"k": 1})):
        with pytest.raises(Slow) as caught:
            f(*args, **kwargs)
        assert len(caught.value.args[0]) == len(args)
        assert caught.value.args[1] == kwargs


@both
def test_the_fallback_may_convert_and_call_again(make):
    def convert(x):
        return f(np.ascontiguousarray(x, np.float32))

    f = make(program(fallback=convert))
    assert (f([1, 2, 3]) == [1, 2, 3]).all()
    assert (f(np.arange(6.0)[::2]) == [0, 2, 4]).all()


@both
def test_read_only_arrays_are_taken(make):
    x = np.arange(3, dtype=np.float32)
    x.flags.writeable = False
    y = make(program())(x)
    assert (y == x).all()
    assert y.flags.writeable


@both
@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        (F32, [1.5, -0.0, float("inf"), 1e300], [1, True, np.float64(1.5), 1j]),
        (F64, [1.5, 1e300], [1, False]),
        (I32, [0, -(2**31), 2**31 - 1], [2**31, -(2**31) - 1, 10**40, True, 1.0, np.int32(1)]),
        (I64, [0, -(2**63), 2**63 - 1], [2**63, -(10**40), True, 1.0]),
        (BOOL, [True, False], [1, 0, 1.0, np.True_]),
    ],
)
def test_python_numbers(make, dtype, good, bad):
    f = make(program(dtype, (), given_inputs=(Input(dtype, (), scalar=True),)))
    for x in good:
        with np.errstate(over="ignore"):
            wanted = np.array(x, dtype)
        assert f(x).tobytes() == wanted.tobytes()
        assert f(wanted) == wanted
    for x in bad:
        with pytest.raises(Slow):
            f(x)
    with pytest.raises(Slow):
        make(program(dtype, ()))(good[0])


@given(st.lists(st.sampled_from([*sorted(WRONG), "right", "right", "right"]), min_size=0, max_size=4))
def test_no_mixture_of_arguments_does_harm(kinds):
    arguments = [np.ones(3, np.float32) if kind == "right" else WRONG[kind]() for kind in kinds]
    for f in FUZZED:
        if kinds == ["right"] * 3:
            assert (f(*arguments) == 1).all()
        else:
            with pytest.raises(Slow) as caught:
                f(*arguments)
            assert all(a is b for a, b in zip(caught.value.args[0], arguments, strict=True))


FUZZED = [make(program(inputs=3)) for make in MAKERS]


# ---------------------------------------------------------------------------------------------------------------------
# Boxes


class BoxedChild(Boxed):
    __slots__ = ()


@both
def test_boxes_are_opened_and_made(make):
    f = make(
        program(given_inputs=(Input(F32, (3,), mark=False),), given_outputs=(Output(F32, (3,), mark=True),), box=BOX)
    )
    x = np.arange(3, dtype=np.float32)
    for argument in (Boxed(x), x):
        y = f(argument)
        assert type(y) is Boxed
        assert (y.array == x).all()
        assert y.mark is True
        assert not hasattr(y, "other")
        assert weakref.ref(y)() is y
        assert gc.is_tracked(y)


@both
def test_boxes_that_do_not_fit_go_to_the_fallback(make):
    f = make(program(given_inputs=(Input(F32, (3,), plain=False, mark=False),), box=BOX))
    x = np.zeros(3, np.float32)
    assert f(Boxed(x)).shape == (3,)
    unset = Boxed()
    del unset.array
    no_mark = Boxed(x)
    del no_mark.mark
    nested = Boxed(Boxed(x))
    for wrong in (Boxed(x, True), Boxed(None), BoxedChild(x), x, unset, no_mark, nested, Boxed(x.astype(float)), Boxed):
        with pytest.raises(Slow):
            f(wrong)


@both
def test_results_may_be_wrapped_by_a_callable(make):
    f = make(program(given_outputs=(Output(F32, (3,), wrap=lambda a: ("wrapped", a)),)))
    tag, y = f(np.ones(3, np.float32))
    assert tag == "wrapped"
    assert (y == 1).all()


@both
def test_errors_in_wrap_arrive(make):
    f = make(program(given_outputs=(Output(F32, (3,), wrap=raise_it),)))
    x = np.ones(3, np.float32)
    before = sys.getrefcount(x)
    with pytest.raises(KeyError, match="wrap"):
        f(x)
    assert sys.getrefcount(x) == before


def test_slot_offset_finds_every_slot():
    boxed = Boxed("here", "there")
    for slot in ("array", "mark"):
        found = slot_offset(Boxed, slot)
        assert entry.ctypes.c_size_t.from_address(id(boxed) + found).value == id(getattr(boxed, slot))
    with pytest.raises(KeyError):
        slot_offset(Boxed, "missing")


# ---------------------------------------------------------------------------------------------------------------------
# Several results, none, and guards

TWO = """
define i64 @two(ptr %T) {
  %go = getelementptr ptr, ptr %T, i64 1
  %out = load ptr, ptr %go
  store i32 7, ptr %out
  %gp = getelementptr ptr, ptr %T, i64 2
  %out2 = load ptr, ptr %gp
  store double 8.0, ptr %out2
  %gx = getelementptr ptr, ptr %T, i64 5
  %extra = load ptr, ptr %gx
  %in = load ptr, ptr %T
  %s = load i64, ptr %in
  %known = icmp eq ptr %extra, inttoptr (i64 4096 to ptr)
  %status = select i1 %known, i64 %s, i64 -1
  ret i64 %status
}
"""


def two(**options):
    loaded = load(TWO, "two")
    return Program(
        name="two",
        address=loaded.address,
        inputs=(Input(I64, (), scalar=True),),
        outputs=(Output(I32, ()), Output(F64, (1, 1))),
        fallback=refuse,
        extras=(12, 4096),
        keep=(loaded,),
        **options,
    )


@both
def test_several_results_come_in_a_tuple_and_extras_reach_the_program(make):
    a, b = make(two())(0)
    assert a == 7
    assert a.dtype == I32
    assert b.tolist() == [[8.0]]


@both
def test_a_single_result_may_come_in_a_tuple_too(make):
    (y,) = make(program(unpack=False))(np.ones(3, np.float32))
    assert (y == 1).all()


@both
def test_programs_without_inputs_or_outputs(make):
    loaded = load("define i64 @nothing(ptr %T) {\n  ret i64 0\n}\n", "nothing")
    f = make(Program("nothing", loaded.address, (), (), refuse, keep=(loaded,)))
    assert f() == ()
    with pytest.raises(Slow):
        f(1)


@both
def test_a_status_goes_to_on_guard_with_the_outputs_and_arguments(make):
    calls = []
    f = make(two(on_guard=lambda *args: calls.append(args) or "other path"))
    assert f(3) == "other path"
    ((status, outputs, argument),) = calls
    assert (status, argument) == (3, 3)
    assert outputs[0] == 7
    assert outputs[1].tolist() == [[8.0]]
    assert f(-5) == "other path"
    assert calls[1][0] == -5
    assert len(f(0)) == 2


@both
def test_an_unexpected_status_is_an_error(make):
    with pytest.raises(GraphadError, match="two left at guard 3"):
        make(two())(3)


@both
def test_on_guard_may_raise(make):
    def fail(status, outputs, x):
        raise KeyError(status)

    f = make(program(status=2, on_guard=fail))
    x = np.ones(3, np.float32)
    before = sys.getrefcount(x)
    with pytest.raises(KeyError, match="2"):
        f(x)
    assert sys.getrefcount(x) == before


# ---------------------------------------------------------------------------------------------------------------------
# Floating-point mode

SQUARE = """
define i64 @square(ptr %T) {
  %in = load ptr, ptr %T
  %go = getelementptr ptr, ptr %T, i64 1
  %out = load ptr, ptr %go
  %x = load float, ptr %in
  %y = fmul float %x, 0.5
  store float %y, ptr %out
  ret i64 0
}
"""


def square(flush):
    loaded = load(SQUARE, "square")
    inputs, outputs = (Input(F32, ()),), (Output(F32, ()),)
    return make_entry(Program("square", loaded.address, inputs, outputs, refuse, keep=(loaded,), flush_denormals=flush))


@pytest.mark.skipif(not library.host().x86, reason="denormals are flushed on x86 only")
def test_denormals_are_flushed_inside_and_kept_outside():
    x = np.array(1.5e-38, np.float32)  # half of it is denormal
    assert square(flush=True)(x) == 0
    assert square(flush=False)(x) > 0
    assert x * np.float32(0.5) > 0  # NumPy's own arithmetic is as before


# ---------------------------------------------------------------------------------------------------------------------
# Being made


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"given_inputs": (Input(np.dtype(">f4"), (3,)),)}, "cannot take or give arrays of >f4"),
        ({"given_outputs": (Output(np.dtype(object), (3,)),)}, "cannot take or give arrays of object"),
        ({"given_inputs": (Input(F32, (3,), scalar=True),)}, "no Python number is a float32 of shape \\(3,\\)"),
        ({"given_inputs": (Input(F32, (3,), plain=False),)}, "needs a box"),
        ({"given_outputs": (Output(F32, (3,), mark=True),)}, "needs a box to come in"),
    ],
)
def test_what_cannot_work_is_refused(make, options, message):
    with pytest.raises(LoweringError, match=message):
        make(program(**options))


def test_a_null_address_is_refused():
    with pytest.raises(LoweringError, match="address of the program is null"):
        make_entry(Program("f", 0, (), (), refuse))


def test_name_and_doc():
    f = make_entry(two())
    assert f.__name__ == "two"
    assert f.__doc__ == "two: (int64[]) -> (int32[], float64[1,1]), a compiled program."


def test_ctypes_stands_in_with_a_warning_where_the_entry_cannot_be_built(monkeypatch):
    def fail():
        raise LoweringError("no back end")

    monkeypatch.setattr(entry, "_entry", fail)
    with pytest.warns(EngineWarning, match="cannot be built here \\(no back end\\); calls go through ctypes"):
        f = make_entry(program())
    assert (f(np.ones(3, np.float32)) == 1).all()
