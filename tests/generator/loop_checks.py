"""What must agree on a random program with loops.

Values are compared with the reference as `tests.generator.checks` has it: as far apart as rounding can bring them.
Derivatives are compared with those of the same program unrolled, with differences of the reference, with each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import jax
import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.backends.cpu.executable import compile_graph
from graphad.backends.loops.text import format_program
from graphad.backends.lower.fuse import lower
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Graph
from graphad.passes.pipeline import applied
from graphad.trace.bind import trace_function
from graphad.trace.pytree import flatten
from tests.generator.checks import (
    Difference,
    Spread,
    _alike,
    _difference,
    _loss,
    _outcome,
    _scale,
    _smallest,
    compare_second,
)
from tests.generator.loop_programs import LoopProgram
from tests.generator.loop_spaces import Checkpointed, LoopJax, LoopReference, Rolled, Unrolled
from tests.generator.loops import random_loops

Function = Callable[..., Any]


class _LoopSpread(Spread):
    space = LoopReference


def values(program: LoopProgram) -> None:
    """Eager, compiled and unrolled against the reference; compiled code is called with other arguments too."""
    spread = _LoopSpread(program)
    function = program.function(Rolled(program.dtype))
    compiled = graphad.jit(function)
    spread.compare("eager", function(*[gnp.asarray(x) for x in program.arguments]))
    spread.compare("jit", compiled(*program.arguments))
    spread.compare("unrolled", graphad.jit(program.function(Unrolled(program.dtype)))(*program.arguments))
    others = _element(program, 1)
    _LoopSpread(program, others).compare("jit, called again", compiled(*others))


def batches(program: LoopProgram) -> None:
    """A batch of some of the arguments, along any axis, against its elements one by one, compiled as well."""
    elements, axes, stacked = _batch(program)
    spreads = [_LoopSpread(program, element) for element in elements]
    function = program.function(Rolled(program.dtype))
    for name, run in (
        ("vmap", graphad.vmap(function, axes)),
        ("jit(vmap)", graphad.jit(graphad.vmap(function, axes))),
        ("vmap(jit)", graphad.vmap(graphad.jit(function), axes)),
    ):
        results = run(*stacked)
        for k, spread in enumerate(spreads):
            spread.compare(f"{name} of {axes}, element {k}", [np.asarray(r)[k] for r in results])


def engines(program: LoopProgram, *, numba: bool = False) -> None:
    """Graphs by the reference of each equation, by LLVM and, of a few programs, by Numba."""
    spread = _LoopSpread(program)
    graph, values = _graph(program.function(Rolled(program.dtype)), program.arguments)
    spread.compare("evaluate", evaluate(graph, values))
    spread.compare("llvm", compile_graph(graph)(*values))
    if numba and _fits_numba(graph):
        spread.compare("numba", compile_graph(graph, engine="numba")(*values))


def _fits_numba(graph: Graph) -> bool:
    """Whether Numba compiles the program in seconds: of 5,000 lines it takes minutes."""
    return format_program(lower(graph).program).count("\n") < 1500


def fissions(program: LoopProgram) -> None:
    """The graph of value and gradient with all that can leave a loop outside, however short the loop is."""
    gradient = graphad.value_and_grad(_loss(program, Rolled("float64")), _floats(program))
    graph, values = _graph(gradient, program.arguments)
    graph = applied(graph, "inline{custom=True},simplify,hoist")
    changed = applied(graph, "gather_products{smallest=1},fission{shortest=1, always=True}")
    expected = evaluate(graph, values)
    _alike(evaluate(changed, values), expected, "distributed and not", 1e-11 * _scale(expected))
    _alike([*compile_graph(changed)(*values)], expected, "llvm and evaluate", 1e-11 * _scale(expected))


def engines_of_gradients(program: LoopProgram, *, numba: bool = False) -> None:
    """The same of the graph of the gradient."""
    gradient = graphad.grad(_loss(program, Rolled(program.dtype)), _floats(program))
    graph, values = _graph(gradient, program.arguments)
    expected = evaluate(graph, values)
    scale = _scale(expected)
    _alike([*compile_graph(graph)(*values)], expected, "llvm and evaluate", 1e-11 * scale)
    if numba and _fits_numba(graph):
        _alike([*compile_graph(graph, engine="numba")(*values)], expected, "numba and evaluate", 1e-11 * scale)


def gradients(program: LoopProgram) -> None:
    """Reverse and forward mode, eager and compiled, against differences, the program unrolled, and float32."""
    wanted = _floats(program)
    loss = _loss(program, Rolled(program.dtype))
    compiled = graphad.jit(graphad.grad(loss, wanted))(*program.arguments)
    scale = _scale(compiled)
    eager = graphad.grad(loss, wanted)(*program.arguments)
    _alike(compiled, eager, "jit(grad) and grad", 1e-11 * scale)
    unrolled = graphad.jit(graphad.grad(_loss(program, Unrolled(program.dtype)), wanted))(*program.arguments)
    _alike(compiled, unrolled, "grad and unrolled", 1e-11 * scale)
    along = _directions(program)
    slope = sum(np.sum(np.asarray(g) * v) for g, v in zip(compiled, along, strict=True))
    of_floats = partial(_of_floats, program)
    forward = graphad.jvp(of_floats(loss), _only_floats(program), along)[1]
    _alike(forward, slope, "jvp and grad", 1e-11 * scale)
    reference = of_floats(_loss(program, LoopReference("float64")))
    found = _difference(reference, _only_floats(program), along)
    _alike(found, slope, "grad and differences", 1e-6 * scale)


def checkpoints(program: LoopProgram) -> None:
    """Gradients with checkpoints, asked for and in as few bytes as it takes: to the last bit, but for compiled sums."""
    wanted = _floats(program)
    plain = _loss(program, Rolled("float64"))
    for name, gradient in (
        ("checkpoint=2", graphad.value_and_grad(_loss(program, Checkpointed("float64")), wanted)),
        ("max_residual_bytes", graphad.value_and_grad(plain, wanted, max_residual_bytes=_least_bytes(program, plain))),
    ):
        graph, values = _graph(gradient, program.arguments)
        expected = evaluate(*_graph(graphad.value_and_grad(plain, wanted), program.arguments))
        _alike(evaluate(graph, values), expected, f"{name} and the plain gradient", 0.0)
        _alike([*compile_graph(graph)(*values)], expected, f"{name}, llvm and evaluate", 1e-11 * _scale(expected))


def _least_bytes(program: LoopProgram, loss: Function) -> int:
    """The least that loops of a program can store."""
    try:
        _graph(graphad.grad(loss, _floats(program), max_residual_bytes=0), program.arguments)
    except ValueError as error:
        least = re.search(r"Allow ([\d,]+) bytes", str(error))
        if least is None:
            raise
        return int(least[1].replace(",", ""))
    return 0


def gradients_in_float32(program: LoopProgram) -> None:
    """Gradients in float32 against those in float64, compiled."""
    wanted = _floats(program)
    narrow = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in program.arguments]
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in narrow]
    exact = graphad.jit(graphad.grad(_loss(program, Rolled("float64")), wanted))(*wide)
    low = graphad.jit(graphad.grad(_loss(program, Rolled("float32")), wanted))(*narrow)
    _alike(low, exact, "grad in float32", 1e-3 * _scale(exact))


def gradients_of_batches(program: LoopProgram) -> None:
    """Gradients and tangents of a batch of some of the arguments against those of its elements."""
    wanted = _floats(program)
    loss = _loss(program, Rolled(program.dtype))
    elements, axes, stacked = _batch(program)
    gradient = graphad.grad(loss, wanted)
    together = graphad.jit(graphad.vmap(gradient, axes))(*stacked)
    along = _directions(program)

    def tangent(*args: Any) -> Any:
        return graphad.jvp(_of_floats(program, loss, args), [args[k] for k in wanted], along)[1]

    tangents = graphad.jit(graphad.vmap(tangent, axes))(*stacked)
    total = graphad.jit(graphad.grad(lambda *args: graphad.vmap(loss, axes)(*args).sum(), wanted))(*stacked)
    ones = [graphad.jit(gradient)(*element) for element in elements]
    for k, one in enumerate(ones):
        _alike([np.asarray(g)[k] for g in together], one, f"vmap(grad) of {axes}, element {k}", 1e-11 * _scale(one))
        slope = sum(np.sum(np.asarray(g) * v) for g, v in zip(one, along, strict=True))
        _alike(np.asarray(tangents)[k], slope, f"vmap(jvp) of {axes}, element {k}", 1e-11 * _scale(one))
    for g, k in zip(total, wanted, strict=True):
        each = [np.asarray(one[wanted.index(k)]) for one in ones]
        expected = np.sum(each, 0) if axes[k] is None else np.stack(each, axes[k])
        _alike(g, expected, f"grad(vmap) of {axes}, argument {k}", 1e-11 * _scale(each))


def second_derivatives(program: LoopProgram) -> None:
    """The Hessian times a direction: forward over reverse, reverse over reverse and differences of gradients."""
    wanted = _floats(program)
    gradient = graphad.jit(_of_floats(program, graphad.grad(_loss(program, Rolled("float64")), wanted)))
    compare_second(gradient, _only_floats(program), _directions(program), graphad.jit)


def with_jax(program: LoopProgram) -> None:
    """Value and gradient against JAX; the tangent where it has no gradient.

    A difference counts if JAX has it operation by operation as well: with most optimisations off and without fusion,
    as these tests run it, XLA returns wrong tangents of a few programs of ten thousand.
    """
    try:
        _compare_with_jax(program, jax.jit)
    except Difference:
        with jax.disable_jit():
            _compare_with_jax(program, lambda f: f)


def _compare_with_jax(program: LoopProgram, jit: Callable[..., Any]) -> None:
    wanted, along = _floats(program), _directions(program)
    ours, theirs = _loss(program, Rolled("float64")), _loss(program, LoopJax("float64"))
    points = _only_floats(program)
    with jax.enable_x64(True):
        expected = jit(lambda *xs: jax.jvp(_of_floats(program, theirs), xs, tuple(along)))(*points)
        expected = [np.asarray(x) for x in expected]
        slopes = jit(jax.grad(theirs, wanted))(*program.arguments) if program.turns_are_known else None
    found = graphad.jit(lambda *xs: graphad.jvp(_of_floats(program, ours), xs, along))(*points)
    _alike([*found], expected, "tangent and JAX's", 1e-10 * _scale(expected))
    if slopes is not None:
        got = graphad.jit(graphad.grad(ours, wanted))(*program.arguments)
        _alike(got, [np.asarray(s) for s in slopes], "grad and JAX's", 1e-10 * _scale(slopes))


ROUGH: tuple[Callable[[LoopProgram], None], ...] = (values, values, values, batches, batches, engines)
SMOOTH: tuple[Callable[[LoopProgram], None], ...] = (
    gradients,
    gradients,
    gradients,
    gradients_in_float32,
    gradients_of_batches,
    gradients_of_batches,
    second_derivatives,
    fissions,
    checkpoints,
    checkpoints,
    engines_of_gradients,
    with_jax,
)


def check(seed: int, compares: Sequence[Callable[[LoopProgram], None]] = (*ROUGH, *SMOOTH)) -> None:
    """One comparison of one program, both chosen by the seed.

    Raises
    ------
    Difference
        The message has the smallest program found that differs, its arguments, and what differs.
    """
    compare = Random(seed).choice(compares)
    program = random_loops(seed, smooth=compare in SMOOTH)
    if compare in (engines, engines_of_gradients) and not seed % NUMBA:
        compare = partial(compare, numba=True)
    error = _outcome(compare, program)
    if error is None:
        return
    program, error = _smallest(compare, program, error)
    raise Difference(
        f"seed {seed}, {getattr(compare, '__name__', compare)}: {type(error).__name__}: {error}\n{program.source}"
        f"dtype {program.dtype}, arguments of the program of that seed"
    ) from error


#: Of so many programs whose engines are compared one is compiled by Numba, which takes seconds.
NUMBA = 5


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


def _floats(program: LoopProgram) -> tuple[int, ...]:
    return tuple([k for k, x in enumerate(program.arguments) if x.dtype.kind == "f"])


def _only_floats(program: LoopProgram) -> list[Any]:
    return [program.arguments[k] for k in _floats(program)]


def _directions(program: LoopProgram) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, x.shape) for x in _only_floats(program)]


def _of_floats(program: LoopProgram, f: Function, arguments: Sequence[Any] | None = None) -> Function:
    """``f`` of the floats among its arguments."""
    wanted, arguments = _floats(program), program.arguments if arguments is None else arguments

    def of_floats(*xs: Any) -> Any:
        given = dict(zip(wanted, xs, strict=True))
        return f(*[given.get(k, x) for k, x in enumerate(arguments)])

    return of_floats


def _element(program: LoopProgram, k: int) -> list[Any]:
    """Other arguments of the same types."""
    rng = np.random.default_rng(k)
    return [
        rng.permutation(x.ravel()).reshape(x.shape) * x.dtype.type(0.9)
        if x.dtype.kind == "f"
        else np.asarray((x + k) % 7)
        for x in program.arguments
    ]


def _batch(program: LoopProgram) -> tuple[list[list[Any]], tuple[int | None, ...], list[Any]]:
    """Elements of a batch, the axis of each argument, and the arguments."""
    rng = Random(program.source)
    elements = [list(program.arguments), _element(program, 1), _element(program, 2)]
    axes = [rng.choice((None, 0, 0, rng.randint(0, x.ndim))) for x in program.arguments]
    if axes == [None] * len(axes):
        axes[0] = 0
    for k, axis in enumerate(axes):
        if axis is None:
            for element in elements:
                element[k] = program.arguments[k]
    stacked = [
        xs[0] if axis is None else np.stack(xs, axis)
        for xs, axis in zip(zip(*elements, strict=True), axes, strict=True)
    ]
    return elements, tuple(axes), stacked


def _graph(f: Function, arguments: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The graph of a function, and the values of its inputs."""
    leaves, treedef = flatten(tuple([gnp.asarray(x) for x in arguments]))
    traced = trace_function(lambda args: f(*args), leaves, treedef)
    return traced.graph, [np.asarray(x) for x in [*leaves, *map(gnp.asarray, traced.captures)]]
