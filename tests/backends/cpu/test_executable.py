"""Compiled graphs as callables: arguments, guards, prints, sharing, lifetime, and what they show of themselves."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

import graphad.primitives  # fills the registry
from graphad.backends.boxes import Box, Input, Output
from graphad.backends.cpu import compiler
from graphad.backends.cpu.executable import compile_graph
from graphad.backends.llvm import library
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import Gemm
from graphad.backends.outcome import GuardFailure
from graphad.errors import GuardError, LoweringError
from graphad.ir.builder import Builder
from graphad.ir.types import DTYPES, aval, b1, f32, f64, i32, literal
from graphad.primitives.contract import dot_general
from graphad.primitives.effects import debug_print, guard
from graphad.primitives.elementwise import add, exp, gt, mul, ne, neg
from graphad.primitives.reduce import reduce_sum
from tests.threads import side_by_side

assert graphad.primitives
ENGINES = ("llvm", "numba")


def graph_of(function, *types, name="f", loc=None):
    builder = Builder()
    builder.loc = loc
    results = function(*[builder.input_ref(a) for a in types])
    results = results if isinstance(results, tuple) else (results,)
    return builder.close([r.atom for r in results], name=name)


def row_sums(x):
    return exp(x), reduce_sum(x, axes=(1,))


def positive_or_not(x):
    """Two guards: the sum is positive, and its double is not 4."""
    total = reduce_sum(x, axes=(0,))
    guard(gt(total, 0.0), expect=literal(True, b1))
    guard(ne(mul(total, 2.0), 4.0), expect=literal(True, b1))
    return exp(x)


MATRIX = aval((4, 3), f32)


# ---------------------------------------------------------------------------------------------------------------------
# Calling


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_in_fresh_arrays_out(engine, rng):
    f = compile_graph(graph_of(row_sums, MATRIX), engine=engine)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    first, again = f(x), f(x)
    assert [a.dtype for a in first] == [np.float32] * 2
    assert [a.shape for a in first] == [(4, 3), (4,)]
    np.testing.assert_allclose(first[0], np.exp(x), rtol=1e-6)
    np.testing.assert_allclose(first[1], x.sum(1), rtol=1e-5)
    assert not any(np.shares_memory(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_arguments_in_any_layout(engine, rng):
    f = compile_graph(graph_of(row_sums, MATRIX), engine=engine)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    packed = np.zeros(4 * 3 * 4 + 1, np.uint8)
    misaligned = packed[1:].view(np.float32).reshape(4, 3)
    misaligned[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    layouts = [
        np.asfortranarray(x),
        np.repeat(x, 2, axis=1)[:, ::2],
        x[::-1][::-1],
        x.astype(">f4"),
        misaligned,
        read_only,
    ]
    for given in layouts:
        np.testing.assert_array_equal(f(given)[1], f(x)[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_arguments_say_what_is_wrong(engine):
    f = compile_graph(graph_of(row_sums, MATRIX), engine=engine)
    with pytest.raises(TypeError, match=r"f: argument 0 must be f32\[4,3\], but is float64\[4,3\]"):
        f(np.zeros((4, 3)))
    with pytest.raises(TypeError, match=r"must be f32\[4,3\], but is float32\[3,4\]"):
        f(np.zeros((3, 4), np.float32))
    with pytest.raises(TypeError, match="f takes 1 arrays, but 2 were given"):
        f(np.zeros((4, 3), np.float32), np.zeros(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_dtype_goes_in_and_out(engine):
    """All in one program: Numba takes long to compile each."""
    dtypes = list(DTYPES.values())
    builder = Builder()
    inputs = [builder.input_ref(aval((5,), dtype)) for dtype in dtypes]
    doubled = [x if dtype is b1 else add(x, x) for x, dtype in zip(inputs, dtypes, strict=True)]
    f = compile_graph(builder.close([x.atom for x in (*doubled, *inputs)]), engine=engine)
    given = [np.array([0, 1, 1, 0, 1]).astype(dtype.numpy) for dtype in dtypes]
    results = f(*given)
    for dtype, x, twice, same in zip(dtypes, given, results[: len(dtypes)], results[len(dtypes) :], strict=True):
        assert twice.dtype == same.dtype == dtype.numpy
        np.testing.assert_array_equal(same, x, err_msg=str(dtype))
        np.testing.assert_array_equal(twice, x if dtype is b1 else x + x, err_msg=str(dtype))


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_and_scalar_arrays(engine):
    f = compile_graph(graph_of(lambda x, y: (neg(x), neg(y)), aval((0, 3), f32), aval((), f64)), engine=engine)
    empty, scalar = f(np.zeros((0, 3), np.float32), np.array(2.0))
    assert empty.shape == (0, 3)
    assert scalar.shape == ()
    assert scalar == -2.0


@pytest.mark.parametrize("engine", ENGINES)
def test_matrix_products_and_temporaries(engine, rng):
    def f(x, y):
        return dot_general(exp(x), y, contract=((1,), (0,)), batch=((), ()))

    x, y = rng.normal(size=(30, 20)), rng.normal(size=(20, 25))
    (product,) = compile_graph(graph_of(f, aval((30, 20), f64), aval((20, 25), f64)), engine=engine)(x, y)
    np.testing.assert_allclose(product, np.exp(x) @ y, rtol=1e-13)


def test_threads_share_an_executable(rng):
    """Each call has temporaries of its own."""

    def f(x, y):
        return dot_general(exp(x), y, contract=((1,), (0,)), batch=((), ()))

    compiled = compile_graph(graph_of(f, aval((30, 20), f64), aval((20, 25), f64)))
    y = rng.normal(size=(20, 25))
    wrong = []

    def work(seed):
        x = np.random.default_rng(seed).normal(size=(30, 20))
        expected = np.exp(x) @ y
        for _ in range(200):
            if not np.allclose(compiled(x, y)[0], expected):
                wrong.append(seed)

    side_by_side(work)
    assert not wrong


def test_denormals_are_flushed_or_not():
    tiny = np.full((1,), 1e-39, np.float32)
    graph = graph_of(lambda x: mul(x, 0.5), aval((1,), f32))
    assert compile_graph(graph, flush_denormals=True)(tiny)[0] == 0
    assert compile_graph(graph, flush_denormals=False)(tiny)[0] == tiny * np.float32(0.5)


# ---------------------------------------------------------------------------------------------------------------------
# Guards and prints


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failed_guard_ends_the_run_and_shows_what_it_saw(engine):
    f = compile_graph(graph_of(positive_or_not, aval((2,), f32), loc="model.py:14"), engine=engine)
    good, negative, four = (np.array(x, np.float32) for x in ([1, 2], [-1, 0], [1, 1]))
    (result,) = f.run((good,))
    np.testing.assert_allclose(result, np.exp(good), rtol=1e-6)
    assert f.run((negative,)) == GuardFailure(0, literal(False, b1))
    assert f.run((four,)) == GuardFailure(1, literal(False, b1))
    with pytest.raises(GuardError, match=r"^model\.py:14: f was compiled for True:bool .* this call has False:bool"):
        f(four)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_integer_guard_shows_the_integer(engine):
    def f(n, x):
        guard(n, expect=literal(3, i32))
        return neg(x)

    compiled = compile_graph(graph_of(f, aval((), i32), aval((2,), f32)), engine=engine)
    x = np.ones(2, np.float32)
    assert compiled.run((np.array(7, np.int32), x)) == GuardFailure(0, literal(7, i32))
    np.testing.assert_array_equal(compiled.run((np.array(3, np.int32), x))[0], -x)


@pytest.mark.parametrize("engine", ENGINES)
def test_prints_come_in_order_after_the_run(engine, capsys):
    def f(x):
        debug_print(x, fmt="x = {}", batch_axes=0)
        y = mul(x, 2.0)
        debug_print(y, y, fmt="{:.1f} {}", batch_axes=1)
        return y

    compiled = compile_graph(graph_of(f, aval((2,), f32)), engine=engine)
    outputs = compiled(np.array([1, 2], np.float32))
    assert len(outputs) == 1
    assert capsys.readouterr().out == "x = [1. 2.]\n2.0 2.0\n4.0 4.0\n"


def test_nothing_is_printed_where_a_guard_fails(capsys):
    def f(x):
        debug_print(x, fmt="{}", batch_axes=0)
        guard(gt(x, 0.0), expect=literal(True, b1))
        return x

    compiled = compile_graph(graph_of(f, aval((), f32)))
    assert type(compiled.run((np.array(-1, np.float32),))) is GuardFailure
    assert not capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------------
# Sharing


def test_equal_graphs_share_code_but_not_lines():
    one, other = (compile_graph(graph_of(row_sums, MATRIX, loc=loc)) for loc in ("one.py:1", "other.py:2"))
    assert one.graph == other.graph
    assert one._code is other._code
    for text in ("source", "llvm"):
        assert "one.py:1" in getattr(one, text)
        assert "other.py:2" in getattr(other, text)
        assert "one.py:1" not in getattr(other, text)
    other_engine = compile_graph(one.graph, engine="numba")
    assert other_engine._code is not one._code


def test_code_lives_as_long_as_its_last_user(rng):
    def f(x):
        return mul(exp(x), 1.2345)  # no other test has this graph

    x = rng.normal(size=(2, 3)).astype(np.float32)
    executable = compile_graph(graph_of(f, aval((2, 3), f32)))
    code = weakref.ref(executable._code)
    entry = executable._entry
    expected = executable(x)
    del executable
    gc.collect()
    assert code() is not None, "the entry still runs it"
    np.testing.assert_array_equal(entry(x)[0], expected[0])
    del entry
    gc.collect()
    assert code() is None


# ---------------------------------------------------------------------------------------------------------------------
# Looking inside


def test_texts(rng):
    f = compile_graph(graph_of(row_sums, MATRIX, name="row_sums", loc="model.py:14"))
    check_program(f.program)
    assert f.program.name == "row_sums"
    assert "define i64 @ga_row_sums(ptr %T)" in f.llvm
    assert "ga_row_sums" in f.asm
    assert "# model.py:14" in f.source
    assert "row_sums (llvm)" in repr(f)
    namespace = {}
    exec(f.source, namespace)
    x, sums, exps = rng.normal(size=12).astype(np.float32), np.zeros(4, np.float32), np.zeros(12, np.float32)
    assert namespace["row_sums"](x, exps, sums) == 0
    np.testing.assert_allclose(sums, x.reshape(4, 3).sum(1), rtol=1e-5)


class Boxed:
    """StagingBuffers for the array class of the faces."""

    __slots__ = ("mark", "value")

    def __init__(self, value, mark):
        self.value, self.mark = value, mark


def test_an_entry_of_its_own_opens_and_fills_boxes():
    executable = compile_graph(graph_of(lambda x: neg(x), aval((2,), f32)))
    rows = [Input(np.dtype("f4"), (2,), plain=False, mark=False)]
    results = [Output(np.dtype("f4"), (2,), mark=True)]
    entry = executable.entry(rows, results, box=Box(Boxed, "value", "mark"), fallback=lambda *args: ("fallback", args))
    result = entry(Boxed(np.array([1, 2], np.float32), False))
    assert type(result) is Boxed
    assert result.mark is True
    np.testing.assert_array_equal(result.value, [-1, -2])
    assert entry(3)[0] == "fallback"


def test_an_entry_of_its_own_is_not_for_programs_with_guards():
    executable = compile_graph(graph_of(positive_or_not, aval((2,), f32)))
    assert executable.entry([], [], box=Box(Boxed, "value", "mark"), fallback=print) is None


def test_an_unknown_engine_is_refused():
    with pytest.raises(LoweringError, match="no engine 'xla'; choose 'llvm' or 'numba'"):
        compile_graph(graph_of(neg, MATRIX), engine="xla")


def test_a_cpu_without_fused_multiply_adds_gets_none(monkeypatch):
    """Neither in loops nor in products that become loops."""

    def values(x, w, v):
        return add(mul(x, x), w), dot_general(v, x, contract=((0,), (0,)), batch=((), ()))

    graph = graph_of(values, aval((3000,), f64), aval((3000,), f64), aval((3000, 16), f64))
    for fma in (False, True):
        monkeypatch.setattr(compiler, "host", lambda fma=fma: library.host()._replace(fma=fma))
        program = compiler.lowered(graph, "", "f").program
        text = compiler.emitted(program, comments=False, one_blas_thread=True).text
        products = replace(program, steps=tuple([s for s in program.steps if isinstance(s, Gemm)]))
        alone = compiler.emitted(products, comments=False, one_blas_thread=True).text
        assert ["fma" in x for x in (text, alone, compiler.numba_source(program))] == [fma] * 3
