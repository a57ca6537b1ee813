"""A third target, `interpreted_target`, is registered from outside and found by all that runs and shows programs."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import inspection, lax
from graphad.api.stages import compiled
from graphad.backends import targets
from graphad.backends.outcome import GuardFailure
from graphad.check.calculus import vjp_graph
from graphad.device import Kind, parse
from graphad.errors import DeviceError
from graphad.experimental import io_callback
from graphad.ir.types import DTYPES, f64
from tests.backends import interpreted_target
from tests.backends.interpreted_target import KIND, Memory, Target
from tests.primitives.cases import USUAL, assert_close, differentiable, each, programs, pure, run

X = np.linspace(-1.5, 2.0, 15, dtype=np.float32).reshape(3, 5)


@pytest.fixture(scope="module", autouse=True)
def registered():
    targets.register(KIND, Target)
    yield
    targets.unregister(KIND)


def test_it_is_short():
    assert len(Path(interpreted_target.__file__).read_text().splitlines()) < 200


# ---- the generic tests of primitives


def on_target(graph, args):
    """The outputs of a graph, compiled for the third target, on arrays of the host."""
    device = parse(KIND)
    memory = targets.target_of(device).memory(device)
    outcome = compiled(graph, device).run([memory.upload(x) for x in args])
    arrays = [np.empty(a.shape, a.dtype.numpy) for a in graph.out_avals]
    for memory, array in zip(outcome, arrays, strict=True):
        memory.download(array)
    return arrays


def check(primitive, dtype):
    for graph, args in programs(primitive, dtype):
        for got, expected in zip(on_target(graph, args), run(graph, args), strict=True):
            assert_close(got, expected, primitive, f"{graph}")


@pytest.mark.parametrize(**each(USUAL, pure))
def test_primitives(primitive, dtype):
    check(primitive, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(**each([d for d in DTYPES.values() if d not in USUAL], pure))
def test_primitives_in_other_dtypes(primitive, dtype):
    check(primitive, dtype)


@pytest.mark.parametrize(**each((f64,), differentiable))
def test_derivatives_of_primitives(primitive, dtype):
    for graph, args in programs(primitive, dtype, only_differentiable=True):
        adjoint = vjp_graph(graph)
        given = [*args, *[np.ones(a.shape, a.dtype.numpy) for a in graph.out_avals if a.is_float]]
        for got, expected in zip(on_target(adjoint, given), run(adjoint, given), strict=True):
            np.testing.assert_allclose(got, expected, 1e-10, 1e-10, err_msg=f"{adjoint}")


# ---- what users do


def loss(w, x):
    hidden = gnp.tanh(x @ w)
    return gnp.sum(hidden * hidden) + lax.scan(lambda c, row: (gnp.sin(c) + row.sum(), c), 0.5, hidden)[0]


def collatz(n):
    def body(state):
        n, steps = state
        return gnp.where(n % 2 == 0, n // 2, 3 * n + 1), steps + 1

    return lax.while_loop(lambda state: state[0] > 1, body, (n, 0))[1]


def growth(x):
    """A loop of steps, for each turn is a product, of a number of turns that the data decides."""
    step = gnp.eye(5) * 1.5
    return lax.while_loop(lambda v: gnp.sum(v) < 50.0, lambda v: v @ step, gnp.abs(x)).sum()


def chosen(x):
    return lax.cond(x.sum() > 0, lambda v: v @ v.T, lambda v: -(v @ v.T), x)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (graphad.value_and_grad(loss), (X.T[:, :2] * 0.3, X)),
        (graphad.hessian(lambda x: gnp.prod(gnp.cos(x))), (X[0],)),
        (graphad.vmap(collatz), (np.arange(1, 12, dtype=np.int32),)),
        (growth, (X,)),
        (graphad.grad(lambda s: growth(s * X)), (np.float32(1.5),)),
        (chosen, (X,)),
        (graphad.vmap(chosen), (np.stack([X, -X]),)),
        (lambda x: gnp.sort(x, axis=1).cumsum(0), (X,)),
        (lambda x: x.at[gnp.array([0, 2, 0])].add(1.0)[:, ::-1], (X,)),
    ],
)
def test_programs(function, args):
    got = graphad.jit(function, device=KIND)(*args)
    for a, b in zip(graphad.tree.leaves(got), graphad.tree.leaves(graphad.jit(function)(*args)), strict=True):
        assert (a.device.name, b.device.name) == (KIND, "cpu")
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), 2e-6, 2e-6)


def test_arrays_belong_to_it():
    assert parse(KIND) in graphad.devices()
    x = graphad.device_put(X, KIND)
    assert repr(graphad.device_put(np.float32(2), KIND)) == f"Array(2., dtype=float32, device={KIND})"
    y = gnp.exp(x) * 2 - X
    assert (x.device, y.device) == (parse(KIND), parse(KIND))
    np.testing.assert_allclose(np.asarray(y), np.exp(X) * 2 - X, 1e-6)
    assert graphad.device_put(y, "cpu").device.name == "cpu"
    with pytest.raises(TypeError, match=rf"is on {KIND}, .*is on cuda:emulated|runs on .* but .* is on"):
        x + graphad.device_put(X, "cuda:emulated")
    with pytest.raises(BufferError, match=f"the memory of {KIND} is its own"):
        x.__dlpack__()
    assert not hasattr(x, "__cuda_array_interface__")
    with graphad.default_device(KIND):
        assert graphad.jit(gnp.sin)(X).device == parse(KIND)


def test_branches_prints_and_callbacks(capsys):
    calls = []

    def noted(x):
        calls.append(float(x))
        return x + 1

    def f(x):
        total = io_callback(noted, graphad.ShapeDtypeStruct((), "float32"), x.sum())
        graphad.debug.print("{}", total)
        return x * 2 if x[0, 0] > 0 else graphad.pure_callback(np.sin, x, x)

    compiled_f = graphad.jit(f, device=KIND)
    np.testing.assert_allclose(np.asarray(compiled_f(X)), np.sin(X), 1e-6)
    np.testing.assert_allclose(np.asarray(compiled_f(-X)), -2 * X, 1e-6)
    np.testing.assert_allclose(np.asarray(compiled_f(X)), np.sin(X), 1e-6)
    assert calls == [X.sum(), (-X).sum(), X.sum()]
    assert capsys.readouterr().out.split() == [str(x + 1) for x in calls]


def test_loops_are_found_if_the_target_wants_them():
    def unrolled(x):
        for _ in range(100):
            x = gnp.sin(x) * 1.5 + 0.1
        return x

    def primitives(device):
        with graphad.default_device(device):
            return {e.primitive.name for e in graphad.jit(unrolled).graph(graphad.device_put(X, device)).eqns}

    assert "scan" in primitives(KIND)
    assert "scan" not in primitives("cuda:emulated")


def test_programs_are_shown():
    given = [graphad.ShapeDtypeStruct((3, 5), "float32")]
    assert inspection.stage_text(gnp.tanh, given, "loops", device=KIND).startswith("program @tanh")
    explained = inspection.explain(gnp.tanh, given, device=KIND)
    assert (explained.target, explained.count("loop nest")) == (f"the device {KIND}", 1)
    with pytest.raises(ValueError, match=f"programs for the device {KIND} have no source; their stages are loops$"):
        graphad.jit(gnp.tanh, device=KIND).kernel_source(X)
    with pytest.raises(ValueError, match=f"'sm_90' is that of a GPU, .* of the device {KIND}; ask for 'cuda'"):
        inspection.explain(gnp.tanh, given, device=KIND, architecture="sm_90")


# ---- the registry


def test_names():
    with pytest.raises(ValueError, match=f"'cuda:emulated', '{KIND}'$"):
        parse(f"{KIND}:0")
    with pytest.raises(ValueError, match="there is a target for devices of the kind 'cuda' already"):
        targets.register("cuda", Target)
    with pytest.raises(ValueError, match="a word, not 'a:b'"):
        targets.register("a:b", Target)


def test_kinds_have_names_while_they_are_registered():
    targets.register("several", Target, Kind(numbered=True, named=("spare",)))
    try:
        assert [parse(f"several{x}").name for x in ("", ":3", ":spare")] == ["several:0", "several:3", "several:spare"]
        device = parse("several")
    finally:
        targets.unregister("several")
    with pytest.raises(ValueError, match="there is no device 'several'"):
        parse("several")
    with pytest.raises(DeviceError, match="no target is registered for devices of the kind 'several'"):
        targets.target_of(device)


class OnHost(Target):
    """Programs on arrays of the host."""

    def compile(self, graph, device, passes):
        return HostExecutable(super().compile(graph, device, passes))


class HostExecutable:
    def __init__(self, executable):
        self.executable = executable

    def run(self, arrays, answers=()):
        made = self.executable
        outcome = made.run([Memory(made.device, x) for x in arrays], answers)
        if isinstance(outcome, GuardFailure):
            return outcome
        typed = zip(outcome, made.graph.out_avals, strict=True)
        return [memory.bytes.view(a.dtype.numpy).reshape(a.shape) for memory, a in typed]


def test_a_target_may_use_arrays_of_the_host():
    targets.register("host", OnHost, Kind(is_host=True))
    try:
        f = graphad.jit(lambda x: (x if x[0, 0] > 0 else -x).sum(axis=0), device="host")
        for x in (X, -X, graphad.device_put(X, "cpu"), X):
            y = f(x)
            assert y.device.name == "cpu"
            np.testing.assert_allclose(y, -X.sum(axis=0), 1e-6)
    finally:
        targets.unregister("host")


def test_nobody_above_asks_for_the_cpu():
    """What compiles and shows programs is asked of the target, where arrays are of the device: never ``is CPU``."""
    found = []
    root = Path(graphad.__file__).parent
    for path in root.rglob("*.py"):
        if "backends" in path.parts or path == root / "device.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            names = {x.id for x in compared if isinstance(x, ast.Name) and isinstance(node.ops[0], (ast.Is, ast.IsNot))}
            texts = {x.value for x in compared if isinstance(x, ast.Constant)}
            if "CPU" in names or texts & {"cpu", "cuda", "cuda:0", "cuda:emulated"}:
                found.append(f"{path.relative_to(root)}:{node.lineno}")
    assert not found
