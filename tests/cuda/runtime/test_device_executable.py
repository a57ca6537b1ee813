"""Compiled graphs on the emulated device: results, guards, prints, captured launches, sharing, errors, looks."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import graphad.primitives  # fills the registry
from graphad.backends.cuda.emulator import EmulatorError
from graphad.backends.cuda.run import executable as executable_module
from graphad.backends.cuda.run import launches
from graphad.backends.cuda.run.executable import compile_graph
from graphad.backends.cuda.runtime.allocator import Allocator
from graphad.backends.cuda.runtime.emulated import Emulated
from graphad.backends.outcome import GuardFailure
from graphad.config import config
from graphad.device import Device
from graphad.errors import GuardError
from graphad.ir.builder import Builder
from graphad.ir.types import aval, b1, f32, f64, i32, literal
from graphad.primitives.contract import dot_general
from graphad.primitives.effects import debug_print, guard
from graphad.primitives.elementwise import add, exp, gt, mul, ne, neg, tanh
from graphad.primitives.reduce import reduce_sum
from tests.cuda.runtime.runtimes import RUNTIMES

assert graphad.primitives
DEVICE = Device("cuda:emulated")


@pytest.fixture
def memory(monkeypatch):
    """A device for this test alone."""
    own = Allocator(Emulated(check_uninitialised=True))
    monkeypatch.setattr(executable_module, "allocator", lambda device: own)
    return own


@pytest.fixture(params=RUNTIMES)
def any_memory(request, monkeypatch):
    """The same for the driver's runtime as well, where there is a GPU."""
    own = Allocator(RUNTIMES[request.param]())
    monkeypatch.setattr(executable_module, "allocator", lambda device: own)
    return own


def graph_of(function, *types, name="f"):
    builder = Builder()
    results = function(*[builder.input_ref(a) for a in types])
    results = results if isinstance(results, tuple) else (results,)
    return builder.close([r.atom for r in results], name=name)


def located_graph(function, a):
    """A graph whose equations have the line of the function's last statement."""
    code = function.__code__
    offset = list(code.co_lines())[-1][0]
    builder = Builder()
    x = builder.input_ref(a)
    builder.loc = (code, offset)
    return builder.close([function(x).atom], name="f")


def layers(x, w):
    """A matrix product, a temporary, a reduction and an elementwise output."""
    product = dot_general(x, w, contract=((1,), (0,)), batch=((), ()))
    y = tanh(product)
    return reduce_sum(y, axes=(0,)), exp(x), dot_general(y, y, contract=((1,), (1,)), batch=((), ()))


def layers_reference(x, w):
    y = np.tanh(x @ w)
    return y.sum(0), np.exp(x), y @ y.T


def steps(x):
    """Two guards, something between them and after."""
    total = reduce_sum(exp(x), axes=(0,))
    guard(gt(total, 10.0), expect=literal(False, b1))
    y = mul(x, 2.0)
    guard(ne(reduce_sum(y, axes=(0,)), 0.0), expect=literal(True, b1))
    return neg(y), total


@pytest.mark.parametrize(("dtype", "rtol"), [(f32, 2e-6), (f64, 1e-14)])
@pytest.mark.parametrize("shape", [(33, 17, 5), (16, 16, 16), (1, 40, 64)])
def test_results(any_memory, rng, dtype, rtol, shape):
    m, k, n = shape
    x, w = rng.random((m, k)).astype(dtype.numpy), rng.random((k, n)).astype(dtype.numpy)
    run = compile_graph(graph_of(layers, aval((m, k), dtype), aval((k, n), dtype)), DEVICE)
    for got, wanted in zip(run(x, w), layers_reference(x, w), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=4 * rtol)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_empty_and_scalar(any_memory, shape):
    x = np.ones(shape, np.float32)
    run = compile_graph(
        graph_of(lambda x: (exp(x), reduce_sum(x, axes=tuple(range(x.aval.ndim)))), aval(shape, f32)), DEVICE
    )
    e, total = run(x)
    np.testing.assert_allclose(e, np.exp(x), rtol=1e-6)
    assert total == x.sum()


@pytest.mark.parametrize("fast_math", [False, True])
def test_products_with_a_bias_and_relu(any_memory, rng, fast_math):
    """By a library, whose relu may lose nan, only with ``fast_math``; captured like everything else."""

    def f(x, w, b):
        return graphad.nn.relu(x @ w + b[4:]) @ w.T + b[:12]

    args = [rng.standard_normal(s).astype(np.float32) for s in ((9, 12), (12, 20), (24,))]
    with config.override(fast_math=fast_math):
        run = compile_graph(graphad.jit(f).graph(*args), any_memory.runtime.device)
    by_library = any_memory.runtime.has_gemm
    assert len(run.device_program.kernels) == (by_library and not fast_math)
    want = np.maximum(args[0] @ args[1] + args[2][4:], 0) @ args[1].T + args[2][:12]
    for _ in range(4):
        np.testing.assert_allclose(run(*args)[0], want, rtol=1e-4, atol=1e-4)
    args[0][2, 3] = np.nan
    if not fast_math:
        assert np.isnan(run(*args)[0][2]).all()


def test_outputs_that_are_inputs_and_literals(any_memory):
    graph = graph_of(lambda x: (x, x, add(x, 1.0)), aval((3,), f32))
    run = compile_graph(graph, DEVICE)
    memories = [any_memory.upload(np.arange(3, dtype=np.float32))]
    outputs = run.run(memories)
    assert len({m.address for m in (*memories, *outputs)}) == 4
    np.testing.assert_array_equal(run._download(outputs[1], 1), [0, 1, 2])


def test_guards(any_memory):
    run = compile_graph(graph_of(steps, aval((3,), f32)), DEVICE)
    x = np.array([0.5, 1, -1], np.float32)
    for _ in range(3):  # launched, captured, replayed
        y, total = run(x)
        np.testing.assert_array_equal(y, -2 * x)
        np.testing.assert_allclose(total, np.exp(x).sum(), rtol=1e-6)
        assert run.run([any_memory.upload(np.full(3, 5, np.float32))]) == GuardFailure(0, literal(True, b1))
        assert run.run([any_memory.upload(np.zeros(3, np.float32))]) == GuardFailure(1, literal(False, b1))
    with pytest.raises(
        GuardError, match=r"f was compiled for True:bool at a Python branch, but this call has False:bool"
    ):
        run(np.zeros(3, np.float32))


def test_nothing_runs_behind_a_guard_that_fails(memory):
    def f(x):
        guard(gt(reduce_sum(x, axes=(0, 1)), 0.0), expect=literal(True, b1))
        return dot_general(x, x, contract=((1,), (0,)), batch=((), ()))

    run = compile_graph(graph_of(f, aval((32, 32), f32)), DEVICE)
    kernels = []
    for sign in (-1, 1):
        with memory.runtime.watch() as seen:
            run.run([memory.upload(np.full((32, 32), sign, np.float32))])
        kernels.append(len(seen))
    assert kernels == [1, 2]


def test_what_has_not_run_yet_is_not_captured(any_memory, monkeypatch):
    """A product behind a guard is prepared by the library when it is first run, which a capture would not survive."""

    def f(x):
        guard(gt(reduce_sum(x, axes=(0, 1)), 0.0), expect=literal(True, b1))
        y = dot_general(x, x, contract=((1,), (0,)), batch=((), ()))
        return dot_general(y, x, contract=((1,), (0,)), batch=((), ()))

    captured = []
    capture = any_memory.runtime.capture
    monkeypatch.setattr(any_memory.runtime, "capture", lambda work: captured.append(1) or capture(work))
    run = compile_graph(
        graph_of(f, aval((32, 32), f32)), DEVICE if any_memory.runtime.device == DEVICE else Device("cuda:0")
    )
    ones = np.ones((32, 32), np.float32)
    counts = []
    for sign in (-1, -1, 1, 1, 1):
        outcome = run.run([any_memory.upload(sign * ones)])
        counts.append(len(captured))
        if sign == 1:
            np.testing.assert_array_equal(run._download(outcome[0], 0), 1024 * ones)
        del outcome
    assert counts == [0, 0, 0, 1, 1]


def test_guard_of_an_integer(memory):
    def f(x):
        guard(reduce_sum(x, axes=(0,)), expect=literal(6, i32))
        return neg(x)

    run = compile_graph(graph_of(f, aval((3,), i32)), DEVICE)
    np.testing.assert_array_equal(run(np.array([1, 2, 3], np.int32))[0], [-1, -2, -3])
    assert run.run([memory.upload(np.array([1, 2, 4], np.int32))]) == GuardFailure(0, literal(7, i32))


def test_prints(memory, capsys):
    def f(x):
        debug_print(x, reduce_sum(x, axes=(0,)), fmt="x = {}, sum = {:.1f}", batch_axes=0)
        return neg(x)

    outputs = compile_graph(graph_of(f, aval((2,), f64)), DEVICE)(np.array([1.0, 2.0]))
    assert len(outputs) == 1
    assert capsys.readouterr().out == "x = [1. 2.], sum = 3.0\n"


def test_launches_are_captured_when_the_addresses_come_again(any_memory, rng, monkeypatch):
    captures = []
    capture = any_memory.runtime.capture
    monkeypatch.setattr(any_memory.runtime, "capture", lambda work: captures.append(1) or capture(work))
    x, w = rng.random((8, 20), np.float32), rng.random((20, 8), np.float32)
    run = compile_graph(graph_of(layers, aval((8, 20), f32), aval((20, 8), f32)), DEVICE)
    counts = []
    for k in range(5):
        for got, wanted in zip(run(x + k, w), layers_reference(x + k, w), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5)
        counts.append(len(captures))
    assert counts == [0, 1, 1, 1, 1]


def test_a_training_loop_settles_into_captured_steps(any_memory, rng, monkeypatch):
    """Parameters go round on the device; three captured steps are three steps."""
    captures = []
    capture = any_memory.runtime.capture
    monkeypatch.setattr(any_memory.runtime, "capture", lambda work: captures.append(1) or capture(work))

    def step(p, q, x):
        y = dot_general(x, p, contract=((1,), (0,)), batch=((), ()))
        g = dot_general(x, tanh(y), contract=((0,), (0,)), batch=((), ()))
        return add(p, mul(g, -0.01)), add(mul(q, 0.5), g)

    types = aval((20, 8), f32), aval((20, 8), f32), aval((10, 20), f32)
    run = compile_graph(graph_of(step, *types), DEVICE)
    p, q, x = [rng.random(t.shape, np.float32) for t in types]
    state, data = (any_memory.upload(p), any_memory.upload(q)), any_memory.upload(x)
    for _ in range(9):
        state = run.run([*state, data])
        g = x.T @ np.tanh(x @ p)
        p, q = p - np.float32(0.01) * g, q * np.float32(0.5) + g
    np.testing.assert_allclose(run._download(state[0], 0), p, rtol=1e-4)
    np.testing.assert_allclose(run._download(state[1], 1), q, rtol=1e-4)
    assert 1 <= len(captures) <= 3


def test_few_sets_of_addresses_are_remembered(memory):
    run = compile_graph(graph_of(layers, aval((4, 20), f32), aval((20, 4), f32)), DEVICE)
    w = memory.upload(np.ones((20, 4), np.float32))
    held = [memory.upload(np.full((4, 20), k, np.float32)) for k in range(40)]
    kept = [run.run([x, w]) for x in held]
    assert len(kept) == 40
    assert len(run._code.sequences._prepared) == launches.MOST_CAPTURED


def test_wrong_arguments(memory):
    run = compile_graph(graph_of(lambda x: exp(x), aval((3,), f32)), DEVICE)
    with pytest.raises(TypeError, match="f takes 1 arrays, but 0 were given"):
        run.run([])
    with pytest.raises(TypeError, match=r"argument 0 must be f32\[3\], 12 bytes, not 16"):
        run.run([memory.upload(np.zeros(4, np.float32))])


def test_code_is_shared_by_equal_graphs(any_memory):
    """On a GPU; the emulated device shares it only if the user's lines are the same, which it names in errors."""
    device = any_memory.runtime.device
    functions = [
        lambda x: exp(x),
        lambda x: exp(x),  # on another line
    ]
    graphs = [located_graph(f, aval((7,), f32)) for f in functions]
    f, other, g = [compile_graph(graph, device) for graph in (*graphs, graphs[0])]
    assert f._code is g._code
    assert (other._code is f._code) is not device.is_emulated
    code = weakref.ref(f._code)
    del f, other
    gc.collect()
    assert code() is g._code
    del g
    gc.collect()
    assert code() is None


def product(x):
    return dot_general(x, x, contract=((1,), (0,)), batch=((), ()))


@pytest.mark.parametrize(
    "functions",
    [
        (lambda x: exp(x), lambda x: neg(x)),
        (
            lambda x: product(x),
            lambda x: product(x),  # equal, and kernels of products have no lines of their own
        ),
    ],
)
def test_the_error_of_a_kernel_names_the_users_line(memory, functions):
    runs = [compile_graph(located_graph(f, aval((32, 32), f32)), DEVICE) for f in functions]
    lent = memory.upload(np.zeros((32, 32), np.float32))
    memory.runtime.free(lent.address)  # somebody's mistake
    for run, function in zip(runs, functions, strict=True):
        line = function.__code__.co_firstlineno
        with pytest.raises(EmulatorError, match=rf"^test_device_executable\.py:{line}: kernel .*freed"):
            run.run([lent])


def test_what_it_shows(memory):
    run = compile_graph(graph_of(layers, aval((8, 20), f32), aval((20, 8), f32)), DEVICE)
    assert repr(run).startswith("<DeviceExecutable f (cuda:emulated): ")
    assert ".visible .entry" in run.emitted.ptx
    assert "define" in run.emitted.llvm


def test_settings_are_part_of_the_code(memory):
    graph = graph_of(lambda x: exp(x), aval((3,), f32))
    plain, again = compile_graph(graph, DEVICE), compile_graph(graph, DEVICE)
    other = compile_graph(graph, DEVICE, flush_denormals=not plain.options.flush_denormals)
    with config.override(deterministic=True):
        ordered = compile_graph(graph, DEVICE)
    assert plain._code is again._code
    assert len({id(run._code) for run in (plain, other, ordered)}) == 3
    assert ordered.options.deterministic
