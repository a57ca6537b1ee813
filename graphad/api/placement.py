"""Which device a computation belongs to, its operands there, and its results.

Arrays on a GPU are committed to it, and so are those that `graphad.device_put` has put on the CPU. Everything else
(other arrays on the CPU, NumPy's, numbers) follows: it is copied to where the computation is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.api.functions import Arguments, argument_text
from graphad.api.stages import compiled, first_equal, lifted_constants, memory_on
from graphad.backends.outcome import GuardFailure
from graphad.config import config
from graphad.device import Device, Memory, parse
from graphad.ir.graph import Graph
from graphad.ir.types import Aval
from graphad.primitives.cast import convert
from graphad.primitives.effects import guard
from graphad.trace.array import Array
from graphad.trace.bind import values_of
from graphad.trace.device_array import DeviceArray, any_on_device, set_runner
from graphad.trace.source import where


def named(device: str | Device) -> Device:
    """The device that a user names."""
    try:
        return parse(device)
    except ValueError as error:
        raise ValueError(f"{where()}{error}") from None


def committed_device(
    leaves: Sequence[Any], wanted: Device | None, name: str, text: Callable[[int], str]
) -> Device | None:
    """The one device that ``leaves`` belong to; ``wanted``, if that is given; None if it is all the same.

    Raises
    ------
    TypeError
        Where two of them are on different devices, or one is not on the device that is wanted. ``name`` is what runs,
        ``text`` says in words which leaf a number means.
    """
    if (wanted or parse(config.default_device)).is_host and not any_on_device(leaves):
        return wanted  # the usual case; arrays committed to the host are in the right place
    places = [(k, x.device) for k, x in enumerate(leaves) if type(x) is DeviceArray or _is_committed(x)]
    if not places:
        return wanted
    first, device = places[0]
    reason = f"where {text(first)} is"
    if wanted is not None:
        device, reason = wanted, "as it was compiled for"
    for k, other in places:
        if other != device:
            raise TypeError(
                f"{where()}{name} runs on {device}, {reason}, but {text(k)} is on {other}. Arrays that belong to a "
                f"device are not moved: write graphad.device_put(x, {device.name!r})."
            )
    return device


def device_for(arguments: Arguments, captures: Sequence[Any], wanted: Device | None, name: str) -> Device:
    """Where a call runs: ``wanted``, or where its arguments and what the function closes over are, or the default."""

    def text(k: int) -> str:
        closed_over = k >= len(arguments.leaves)
        return f"an array that {name} closes over" if closed_over else argument_text(arguments, k)

    found = committed_device([*arguments.leaves, *captures], wanted, name, text)
    return parse(config.default_device) if found is None else found


def _is_committed(x: Any) -> bool:
    return type(x) is Array and getattr(x, "_committed", False)


def memories_of(arrays: Sequence[Any], avals: Sequence[Aval], device: Device, name: str) -> list[Memory]:
    """The memory of ``arrays`` on ``device``: what does not belong to a device is copied there.

    Raises
    ------
    TypeError
        For an array that belongs to another device; ``name`` is what runs.
    """
    return [_memory_of(x, a, device, name) for x, a in zip(arrays, avals, strict=True)]


def _memory_of(x: Any, a: Aval, device: Device, name: str) -> Memory:
    if type(x) is DeviceArray and x.device == device:
        return x.memory if x.aval is a else convert(x, dtype=a.dtype).memory
    if type(x) is DeviceArray or _is_committed(x):
        raise TypeError(
            f"{where()}{name} runs on {device}, but an array of type {a} that it takes is on {x.device}. Arrays that "
            f"belong to a device are not moved: write graphad.device_put(x, {device.name!r})."
        )
    return memory_on(device).upload(np.asarray(x, a.dtype.numpy, order="C"))


def on_device(memories: Sequence[Memory], avals: Sequence[Aval], weak: Sequence[bool]) -> list[DeviceArray]:
    """Arrays of these types over ``memories``, without a copy."""
    return [DeviceArray(m, a, w) for m, a, w in zip(memories, avals, weak, strict=True)]


def run_compiled(graph: Graph, operands: Sequence[Any], device: Device) -> list[Array]:
    """The outputs of ``graph``, compiled for ``device``, on arrays and numbers."""
    host, avals = device.is_host, graph.in_avals
    given = values_of(operands, avals) if host else memories_of(operands, avals, device, graph.name)
    outcome = compiled(graph, device).run(given)
    assert not isinstance(outcome, GuardFailure), "regions and eager programs have no guards"
    if host:
        return [Array(y, w) for y, w in zip(outcome, graph.weak, strict=True)]
    return list(on_device(outcome, graph.out_avals, graph.weak))


def _run_eagerly(graph: Graph, operands: Sequence[Any]) -> list[Array]:
    """What is done with arrays on a device outside compiled functions: compiled as well, once for equal graphs."""
    device = committed_device(operands, None, graph.name, lambda k: f"operand {k}")
    assert device is not None, "one of the operands is on a device"
    graph = _without_guards(graph)
    if config.looks:  # equal graphs differ in the lines that a message names
        return run_compiled(graph, operands, device)
    lifted, numbers = lifted_constants(graph)
    return run_compiled(first_equal(lifted), [*operands, *numbers], device)


def _without_guards(graph: Graph) -> Graph:
    """``graph`` for the very values that its branches were decided by."""
    kept = [(e, loc) for e, loc in zip(graph.eqns, graph.locs, strict=True) if e.primitive is not guard]
    if len(kept) == len(graph.eqns):
        return graph
    eqns, locs = tuple([e for e, _ in kept]), tuple([loc for _, loc in kept])
    return Graph(graph.avals, graph.n_inputs, eqns, graph.outputs, graph.weak, locs, graph.name)


set_runner(_run_eagerly)
