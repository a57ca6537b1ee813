"""The elementary functions as LLVM text: names, agreement with NumPy for every number of lanes, what the text holds."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest
from graphad_kernels.math import FUNCTIONS, SLOW_PATHS, evaluate, helpers

from graphad.backends.boxes import Input, Output
from graphad.backends.cpu.entry.make import Program, make_entry
from graphad.backends.llvm import library, mathlib, native
from graphad.backends.llvm.tracing import Vector, Writer
from graphad.ir.types import f32
from tests.backends.loading import function_address, load, load_object
from tests.kernels.ulps import arguments, bits
from tests.optimized import optimized

NATIVE = {"f32": 16, "f64": 8, "u32": 16}


def program(name, dtype, lanes, count):
    """LLVM text of a loop over ``count`` elements, in vectors."""
    parameters, result = mathlib.signature(name, dtype, lanes)
    vector, element = parameters[0], {"f32": "float", "f64": "double", "u32": "i32"}[dtype]
    inputs, outputs = len(parameters), 2 if result != parameters[0] else 1
    lines = [mathlib.declaration(name, dtype, lanes), "define i64 @run(ptr %T) {", "entry:"]
    for i in range(inputs + outputs):
        lines += [f"%g{i} = getelementptr ptr, ptr %T, i64 {i}", f"%p{i} = load ptr, ptr %g{i}"]
    lines += ["br label %loop", "loop:", "%i = phi i64 [ 0, %entry ], [ %j, %loop ]"]
    for i in range(inputs):
        lines += [f"%a{i} = getelementptr {element}, ptr %p{i}, i64 %i", f"%x{i} = load {vector}, ptr %a{i}, align 4"]
    called = ", ".join(f"{vector} %x{i}" for i in range(inputs))
    lines += [f"%r = call {result} @{mathlib.symbol(name, dtype, lanes)}({called})"]
    for i in range(outputs):
        value = f"%r{i}" if outputs == 2 else "%r"
        lines += [f"%r{i} = extractvalue {result} %r, {i}"] * (outputs == 2)
        lines += [f"%b{i} = getelementptr {element}, ptr %p{inputs + i}, i64 %i"]
        lines += [f"store {vector} {value}, ptr %b{i}, align 4"]
    lines += [f"%j = add i64 %i, {lanes}", f"%more = icmp ult i64 %j, {count}"]
    return "\n".join([*lines, "br i1 %more, label %loop, label %end", "end:", "ret i64 0", "}"])


def run(name, dtype, lanes, *arrays):
    count = arrays[0].size
    padded = [np.resize(a, -(-count // lanes) * lanes) for a in arrays]
    outputs = [np.empty_like(padded[0]) for _ in range(2 if dtype == "u32" else 1)]
    loaded = load(program(name, dtype, lanes, padded[0].size), "run")
    table = (ctypes.c_void_p * (len(padded) + len(outputs)))(*[a.ctypes.data for a in (*padded, *outputs)])
    ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(loaded.address)(ctypes.addressof(table))
    return [o[:count] for o in outputs]


@pytest.mark.parametrize(("name", "dtype"), sorted(FUNCTIONS))
def test_every_number_of_lanes_gives_the_same_bits_as_numpy(name, dtype, rng):
    arrays = arguments(name, dtype, 300, rng)
    wanted = evaluate(name, dtype, *arrays)
    scalar = run(name, dtype, 1, *arrays)
    if dtype == "u32":
        assert all((a == b).all() for a, b in zip(scalar, wanted, strict=True))
    else:
        nan = np.isnan(wanted)
        assert (np.isnan(scalar[0]) == nan).all()
        distance = np.abs(bits(scalar[0][~nan]) - bits(wanted[~nan]))
        assert distance.max() <= (2 if library.host().fma else 4)
    for lanes in (2, NATIVE[dtype], 4 * NATIVE[dtype]):
        vector = run(name, dtype, lanes, *arrays)
        assert all(np.array_equal(a, b, equal_nan=dtype != "u32") for a, b in zip(vector, scalar, strict=True)), lanes


@pytest.mark.parametrize("lanes", [1, 16])
def test_only_the_lanes_with_large_arguments_take_the_slow_path(lanes):
    x = np.array([0.5, 1e30, -0.25, np.nan, 3e4, 2.0, -1e38, np.inf] * 2, np.float32)
    got = run("sin", "f32", lanes, x)[0]
    assert np.array_equal(got, evaluate("sin", "f32", x), equal_nan=True)
    assert np.isnan(got[7])
    assert abs(got[4] - np.sin(3e4)) < 1e-7


@pytest.mark.skipif(not library.host().x86, reason="denormals are flushed on x86 only")
def test_flushing_denormals_changes_nothing_where_operands_and_results_are_normal(rng):
    for name, dtype in sorted(set(FUNCTIONS) - {("threefry2x32", "u32")}):
        arrays = [np.resize(a, 16 * (a.size // 16)) for a in arguments(name, dtype, 300, rng)]
        kind, shape = arrays[0].dtype, arrays[0].shape
        loaded = load(program(name, dtype, 16, shape[0]), "run")
        inputs, outputs = (Input(kind, shape),) * len(arrays), (Output(kind, shape),)
        flushed, exact = (
            make_entry(Program("run", loaded.address, inputs, outputs, fail, keep=(loaded,), flush_denormals=flush))
            for flush in (True, False)
        )
        got, wanted = flushed(*arrays), exact(*arrays)
        normal = np.all([~(np.abs(x) < np.finfo(kind).tiny) | (x == 0) for x in (*arrays, wanted)], axis=0)
        assert np.array_equal(got[normal], wanted[normal], equal_nan=True), name


def fail(*_args):
    raise AssertionError("the arguments did not fit")


def test_erf_inv_has_the_bits_of_xla(rng):
    jax = pytest.importorskip("jax")
    if not (library.host().x86 and library.host().fma):
        pytest.skip("XLA contracts differently on other CPUs")
    uniform = jax.random.uniform(
        jax.random.key(0), (20_000,), minval=np.nextafter(np.float32(-1), np.float32(0)), maxval=1.0
    )
    x = np.concatenate([np.asarray(uniform), np.linspace(-1, 1, 10_001, dtype=np.float32)])
    with optimized():
        expected = np.asarray(jax.jit(jax.lax.erf_inv)(x))
    assert (run("erf_inv", "f32", 16, x)[0] == expected).all()


def test_text_without_fused_multiply_add_is_nearly_as_good(rng):
    generic = library.describe("x86-64" if library.host().x86 else "generic", "")
    for name, dtype in [("exp", "f32"), ("pow", "f64"), ("sin", "f64"), ("erf", "f32")]:
        arrays = arguments(name, dtype, 300, rng)
        text = mathlib.definition(mathlib.symbol(name, dtype, 1), fma=False)
        assert "@llvm.fma." not in text
        slow = {s: function_address(s[3:].rsplit("_", 1)[0], dtype, 1) for s in mathlib.symbols_in(text)}
        symbol = mathlib.symbol(name, dtype, 1)
        code = native.compile_object(text, target=generic)
        function = load_object(code, symbol, slow)
        main = native.compile_object(program(name, dtype, 1, arrays[0].size), target=generic)
        loop = load_object(main, "run", {symbol: function.address})
        out = np.empty_like(arrays[0])
        table = (ctypes.c_void_p * (len(arrays) + 1))(*[a.ctypes.data for a in (*arrays, out)])
        ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(loop.address)(ctypes.addressof(table))
        wanted = evaluate(name, dtype, *arrays)
        near = np.isclose(out, wanted, rtol=1e-6 if dtype == "f32" else 1e-14, atol=0, equal_nan=True)
        tiny = np.abs(wanted) < np.finfo(wanted.dtype).tiny
        assert (near | tiny).all(), (name, arrays[0][~near], out[~near], wanted[~near])


def test_names_and_declarations():
    assert mathlib.symbol("exp", f32, 16) == "ga_exp_f32x16"
    assert mathlib.signature("pow", "f64", 4) == (("<4 x double>", "<4 x double>"), "<4 x double>")
    assert mathlib.declaration("threefry2x32", "u32", 2) == (
        "declare {<2 x i32>, <2 x i32>} @ga_threefry2x32_u32x2(<2 x i32>, <2 x i32>, <2 x i32>, <2 x i32>) "
        "nounwind willreturn memory(none)"
    )
    assert mathlib.declaration("exp", "f32", 1) == "declare float @ga_exp_f32x1(float) nounwind willreturn memory(none)"


def test_unknown_functions_are_refused_by_name():
    with pytest.raises(ValueError, match="no elementary function exp for i32; exp exists for \\['f32', 'f64'\\]"):
        mathlib.symbol("exp", "i32", 1) and mathlib.declaration("exp", "i32", 1)
    with pytest.raises(ValueError, match="'cosf' is no elementary function"):
        mathlib.definition("cosf")


@pytest.mark.parametrize("lanes", [1, 4])
def test_definitions_need_only_intrinsics_and_slow_paths(lanes):
    slow = {mathlib.symbol(*key, 1) for key in SLOW_PATHS}
    for symbol in [mathlib.symbol(*key, lanes) for key in FUNCTIONS] + sorted(slow):
        text = mathlib.definition(symbol)
        assert re.findall(r"^define [^@]*@(\w+)", text, re.MULTILINE) == [symbol]
        assert set(mathlib.symbols_in(text)) <= slow
        assert native.compile_object(text, opt=0)
        for flag in (" fast", " nnan", " nsz", " contract", " reassoc", " afn"):
            assert flag not in text


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda x: x + 1.0, "constant 1.0 meets a vector of f32"),
        (lambda x: x + helpers.to_f64(x), "f32 meets f64"),
        (lambda x: 1 if x > np.float32(0) else 0, "must not branch"),
        (lambda x: x & 1, "and of f32"),
        (lambda x: helpers.lookup(np.arange(3), helpers.bits(x)), "one lane at a time"),
        (lambda x: helpers.to_i32(x), "conversion of f32 to i32"),
    ],
)
def test_recording_refuses_what_would_mean_something_else_to_numba(write, message):
    x = Vector(Writer(4, True), "%x", "f32")
    with pytest.raises(TypeError, match=message):
        write(x)
