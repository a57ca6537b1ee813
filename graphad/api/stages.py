"""The only place that strings tracing, transforms, passes and backends together.

The stages of a compiled gradient, in order: *traced* (the user's function as a graph), *simplified*, *adjoint* (the
gradient's graph, simplified again), then the backend's *loops* and machine code. Without compilation the graph is
evaluated with NumPy, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from graphad.api.finite import Watched, look, watched
from graphad.backends.outcome import Answers
from graphad.backends.targets import Target, every_target, target_of
from graphad.config import config
from graphad.device import CPU, Allocator, Device
from graphad.errors import DeviceError
from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.evaluate import evaluate
from graphad.ir.forks import compiling
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.types import BY_NUMPY, aval, literal
from graphad.primitives.callbacks import io_callback
from graphad.primitives.control import jit
from graphad.primitives.effects import debug_print, guard, printed_lines
from graphad.primitives.scan import scan
from graphad.primitives.while_loop import counted, while_
from graphad.trace.bind import replay
from graphad.trace.recording import set_region_runner
from graphad.trace.source import where
from graphad.transforms.lift_constants import lift_constants
from graphad.transforms.linearize import jvp_graph
from graphad.transforms.transpose import Transposed, transposed

if TYPE_CHECKING:
    from graphad.backends.loops.explanation import Explanation

NDArray = np.ndarray[Any, Any]


def default_pipeline(device: Device = CPU) -> str:
    """The passes that every graph goes through before it is compiled for a device, under the settings in force."""
    without = "" if target_of(device).has_routines else "routines_as_graphs,"
    fast = "{fast_math=True}" if config.fast_math else ""
    return f"inline{{custom=True}},{without}unroll_matrices,simplify{fast},hoist,gather_products,fission"


def simplify(graph: Graph) -> Graph:
    """``graph`` with calls inlined and expressions rewritten, as it is compiled. Memoised."""
    from graphad.passes import applied  # late: eager code needs no passes, nor does code that was compiled before

    return applied(graph, default_pipeline())


@without_collector
def compiled(graph: Graph, device: Device = CPU) -> Any:
    """The `Executable` of ``graph`` on a device under the settings in force; made once for each graph and setting."""

    def make() -> Any:
        if not device.is_host:
            memory_on(device)  # whose error names the user's line
        return watched(target_of(device).compile(graph, device, default_pipeline(device)), graph)

    with compiling:
        return graph.memoize(("compiled", device, config.trace_key), make)


def available_devices() -> list[Device]:
    """The devices that programs can run on here: the CPU, GPUs with a driver, the emulated GPU."""
    return [device for target in every_target().values() for device in target.devices()]


def memory_on(device: Device) -> Allocator:
    """The memory of a device that is not the host, opened when first used; `DeviceError` where it is missing."""
    try:
        return target_of(device).memory(device)
    except DeviceError as error:
        raise DeviceError(f"{where()}{error}") from None


def shown(graph: Graph, device: Device, stage: str, architecture: str | None = None) -> str:
    """The program of ``graph`` for a device, which need not be there, in one of the stages of its target."""
    target = _target_for(device, architecture)
    if stage not in target.stages:
        stages = ", ".join(target.stages)
        raise ValueError(f"{where()}programs for the device {device} have no {stage}; their stages are {stages}")
    return target.show(graph, device, default_pipeline(device), stage, architecture)


def explained(graph: Graph, device: Device, architecture: str | None = None) -> Explanation:
    """What the program of ``graph`` does on a device, which need not be there."""
    return _target_for(device, architecture).explain(graph, device, default_pipeline(device), architecture)


def _target_for(device: Device, architecture: str | None) -> Target:
    """The target of a device, which must have architectures if one is named."""
    target = target_of(device)
    if architecture is not None and not target.has_architectures:
        kinds = " or ".join([repr(kind) for kind, other in every_target().items() if other.has_architectures])
        message = f"the architecture {architecture!r} is that of a GPU, but this program is of the device {device}"
        raise ValueError(f"{where()}{message}; ask for {kinds}")
    return target


def run_graph(graph: Graph, arrays: Sequence[NDArray], answers: Answers = ()) -> list[NDArray]:
    """Evaluate with NumPy; regions of ``jit`` run compiled, prints print, callbacks are called.

    ``answers`` are those of a run that this one takes the place of: so many prints and callbacks are past.
    """
    given = iter(answers)

    def on_effect(eqn: Eqn, loc: Loc, values: list[Any]) -> Sequence[Any] | None:
        found = None if eqn.primitive is guard else next(given, None)
        return _on_effect(eqn, loc, values) if found is None else found

    results = evaluate(graph, arrays, _run_region, on_effect if answers else _on_effect)
    if config.looks:
        look(graph, arrays, results)
    return results


def _run_region(eqn: Eqn, loc: Loc, values: list[Any]) -> Sequence[Any]:
    if eqn.primitive is jit and not config.disable_jit:
        region = eqn.regions[0]
        arrays = [np.asarray(v, a.dtype.numpy) for v, a in zip(values, region.in_avals, strict=True)]
        found = compiled(region)
        # What is not finite here is looked for in the results of the whole, from where it can be followed further up.
        return found.executable(*arrays) if isinstance(found, Watched) else found(*arrays)
    interpreted = config.disable_jit or config.looks or any([r.effectful for r in eqn.regions])
    if eqn.primitive in _LOOPS and not interpreted:
        return _run_loop(eqn, loc, values)
    rules = eqn.primitive.region_rules
    assert rules is not None, "it has regions"
    return rules.evaluate(eqn, values, lambda graph, xs: evaluate(graph, xs, _run_region, _on_effect))


_LOOPS: Final = (scan, while_, counted)


#: A loop in which fewer equations run is interpreted sooner than it is compiled.
_SHORT: Final = 20_000


def _run_example(eqn: Eqn, loc: Loc, values: list[Any]) -> Sequence[Any]:
    """An equation with regions, for the example of a trace: without effects, and long loops compiled."""
    effectful = any([r.effectful for r in eqn.regions])
    if eqn.primitive in _LOOPS and not config.disable_jit and not effectful and _equations_run(eqn) >= _SHORT:
        return _run_loop(eqn, loc, values)
    rules = eqn.primitive.region_rules
    assert rules is not None, "it has regions"
    return rules.evaluate(eqn, values, lambda graph, xs: evaluate(graph, xs, _run_example))


def _equations_run(eqn: Eqn) -> float:
    """How many equations run in ``eqn``; of a loop that ends when its test says so, any number."""
    inside = sum([_equations_run(e) for region in eqn.regions for e in region.eqns])
    if eqn.primitive is scan:
        return eqn.params[0] * inside
    return inf if eqn.primitive in _LOOPS else 1 + inside


set_region_runner(_run_example)


def _run_loop(eqn: Eqn, loc: Loc, values: list[Any]) -> Sequence[Any]:
    """A loop outside of compiled functions: compiled as well, once for loops that differ in their numbers alone."""
    builder = Builder()
    builder.loc = loc
    arrays = [np.asarray(v) for v in values]
    atoms = tuple([builder.input(aval(x.shape, BY_NUMPY[x.dtype])) for x in arrays])
    outs = builder.emit(eqn.primitive, atoms, eqn.params, eqn.regions)
    # Pruned, it would have other results: all of them are asked for.
    lifted, numbers = lifted_constants(builder.close(outs, name=eqn.primitive.name))
    return compiled(first_equal(lifted))(*arrays, *numbers)


lifted_constants = lru_cache(1024)(lift_constants)  # numbers that change from call to call need no new program


@lru_cache(1024)
def first_equal(graph: Graph) -> Graph:
    """The graph that first came this way among those that are equal: it keeps the executables of all."""
    return graph


def _on_effect(eqn: Eqn, _loc: Loc, values: list[Any]) -> Sequence[Any] | None:
    if eqn.primitive is io_callback:
        return io_callback.evaluate(tuple(values), eqn.params)
    if eqn.primitive is debug_print:
        for line in printed_lines(values, **debug_print.named(eqn.params)):
            print(line)  # noqa: T201 - what the user asked for
    return None


def run_on(graph: Graph, operands: Sequence[Any]) -> list[Any]:
    """``graph`` on tracers (appended to the running trace) or arrays (evaluated): its outputs."""
    return replay(graph, operands, run_graph)


def gradient(graph: Graph, mask: tuple[bool, ...], output: int = 0) -> Transposed:
    """Values and gradient of the scalar ``output`` of ``graph``.

    Returns a graph from the inputs of ``graph`` to all its outputs and then one cotangent per marked float input that
    the output depends on.
    """

    def make() -> Transposed:
        joint, nonzero = jvp_graph(graph, mask)
        n_outputs = len(graph.outputs)
        n_tangents = joint.n_inputs - graph.n_inputs
        one = literal(1, graph.out_avals[output].dtype)
        seeds = [one if k == output else False for k, is_nonzero in enumerate(nonzero) if is_nonzero]
        linear = (False,) * graph.n_inputs + (True,) * n_tangents
        cts = (False,) * n_outputs + tuple(seeds)
        return transposed(joint, linear, cts, tuple(range(n_outputs)))

    return graph.memoize(("gradient", mask, output), make)
