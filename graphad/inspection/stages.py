"""What becomes of a function on its way to machine code, as text, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from graphad.api.abstract import ShapeDtypeStruct, as_spec, make_graph
from graphad.api.compile_grad import CompiledGrad
from graphad.api.functions import name_of
from graphad.api.grad import value_and_grad
from graphad.api.jit import Jit
from graphad.api.stages import default_pipeline, explained, shown
from graphad.api.tracing import loop_notes, note_loops
from graphad.api.vmap import vmap
from graphad.backends.targets import every_target
from graphad.config import config
from graphad.device import Device, parse
from graphad.errors import did_you_mean
from graphad.inspection.arguments import Static
from graphad.inspection.diff import diff_graphs, diff_texts
from graphad.inspection.target import GraphFunction
from graphad.ir.graph import Graph
from graphad.ir.text import format_graph
from graphad.passes import Pass, Pipeline, Reroll, format_pipeline, parse_pipeline, run
from graphad.trace.bind import type_of
from graphad.trace.pytree import Tree, broadcast_prefix, flatten, tree_map, unflatten

if TYPE_CHECKING:
    from graphad.backends.loops.explanation import Explanation

#: Stages that are graphs; they are printed in the text form of the IR.
GRAPH_STAGES: Final = ("traced", "simplified", "adjoint", "batched")

Function = Callable[..., Any]


def program_stages() -> tuple[str, ...]:
    """Stages of compiled programs, for whatever device: first those of the CPU.

    >>> program_stages()
    ('loops', 'source', 'llvm', 'asm', 'device', 'ptx', 'sass')
    """
    return tuple(dict.fromkeys([stage for target in every_target().values() for stage in target.stages]))


def all_stages() -> tuple[str, ...]:
    """All stages, in the order in which they are made."""
    return GRAPH_STAGES + program_stages()


def stage_text(
    fun: Function,
    args: Sequence[Any],
    stage: str,
    *,
    of: str | None = None,
    argnums: int | Sequence[int] = 0,
    in_axes: Any = 0,
    batch_size: int = 8,
    pipeline: str | None = None,
    after: str | None = None,
    device: str | Device | None = None,
    architecture: str | None = None,
) -> str:
    """One stage of the compilation of ``fun``, as text.

    Parameters
    ----------
    fun
        A function, also one under `jit` or `compile_grad`.
    args
        Its arguments: arrays, numbers, `ShapeDtypeStruct`, and containers of these; `Static` for Python values.
    stage
        One of `all_stages`.
    of
        The graph whose program is shown: ``"simplified"`` (the function), ``"adjoint"`` (its value and gradient) or
        ``"batched"``. By default the gradient if the result is a float scalar, else the function.
    argnums
        The arguments to differentiate.
    in_axes, batch_size
        Of ``"batched"``: where each argument gets a batch axis (None for nowhere), and how long that is.
    pipeline, after
        Of graphs other than the traced one: the passes to run instead of the usual ones, such as
        ``"inline,simplify"``, and the name of the pass to stop after.
    device, architecture
        Of programs: the device that they are for, by default the CPU if its programs have the stage, else a GPU, and
        the architecture of that GPU, such as ``"sm_80"``. No GPU need be there.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> print(stage_text(gnp.tanh, [ShapeDtypeStruct((3,), "float32")], "simplified"))
    graph @tanh(%0: f32[3]) -> (f32[3]) {
      %1: f32[3] = tanh %0   ; ...
      return %1
    }
    """
    _check_choice("stage", stage, all_stages())
    _check_choice("of", of or "simplified", GRAPH_STAGES)
    graph_stage = stage
    if stage not in GRAPH_STAGES:
        graph_stage = of or _default_graph(fun, args)
    if stage not in GRAPH_STAGES and (pipeline or after):
        raise ValueError(f"{stage} is made of a graph after all passes; a pipeline, or a pass to stop at, is of graphs")
    options: dict[str, Any] = {
        "argnums": argnums, "in_axes": in_axes, "batch_size": batch_size, "pipeline": pipeline, "after": after,
    }  # fmt: skip
    graph = stage_graph(fun, args, graph_stage, **options)
    return format_graph(graph) if stage in GRAPH_STAGES else program_text(graph, stage, device, architecture)


def stage_graph(
    fun: Function,
    args: Sequence[Any],
    stage: str,
    *,
    argnums: int | Sequence[int] = 0,
    in_axes: Any = 0,
    batch_size: int = 8,
    pipeline: str | None = None,
    after: str | None = None,
) -> Graph:
    """The graph of one of `GRAPH_STAGES`. See `stage_text`."""
    if stage == "traced" and isinstance(fun, GraphFunction):
        return fun.graph
    fun = plain_function(fun)
    transformed = fun
    if stage == "adjoint":
        transformed = value_and_grad(fun, argnums)
    elif stage == "batched":
        transformed = vmap(fun, in_axes)
        args = _with_batch_axes(args, in_axes, batch_size)
    if transformed is not fun:
        transformed.__name__ = f"{name_of(fun)}.{stage}"
    graph = make_graph(transformed)(*args)
    return graph if stage == "traced" else run(graph, _passes(pipeline, after), _note_loops)


def _note_loops(p: Pass, before: Graph, _after: Graph) -> None:
    if p.name == Reroll.name:
        note_loops(before)


def _passes(pipeline: str | None, after: str | None) -> Pipeline:
    """The passes to run, up to the last one of the name ``after``."""
    usual = f"{'reroll,' if config.reroll else ''}{default_pipeline()}"
    passes = parse_pipeline(usual if pipeline is None else pipeline)
    if after is None:
        return passes
    places = [k for k, p in enumerate(passes) if p.name == after]
    if not places:
        known = did_you_mean(after, [p.name for p in passes])
        raise ValueError(f"there is no pass {after} in the pipeline {format_pipeline(passes)!r}. {known}")
    return passes[: places[-1] + 1]


def diff_text(fun: Function, args: Sequence[Any], stages: tuple[str, str], **options: Any) -> str:
    """What the second of two stages has changed of the first, as in a unified diff; ``options`` as in `stage_text`.

    Graphs are compared equation by equation, programs line by line.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> print(diff_text(lambda x: gnp.sqrt(x) * 1, [ShapeDtypeStruct((3,), "float32")], ("traced", "simplified")))
    --- traced
    +++ simplified
    ...
    -  %2': f32[3] = mul %1, 1.0:f32   ; ...
    -  return %2'
    +  return %1
    ...
    """
    before, after = stages
    if before in GRAPH_STAGES and after in GRAPH_STAGES:
        for name in ("of", "device", "architecture"):
            options.pop(name, None)
        old, new = [stage_graph(fun, args, stage, **options) for stage in stages]
        return diff_graphs(old, new, stages)
    old, new = [stage_text(fun, args, stage, **options) for stage in stages]
    return diff_texts(old, new, stages)


def program_text(graph: Graph, stage: str, device: str | Device | None = None, architecture: str | None = None) -> str:
    """The compiled program of ``graph`` in one of `program_stages`."""
    place = device or next(kind for kind, target in every_target().items() if stage in target.stages)
    return shown(graph, parse(place), stage, architecture)


def explain(
    fun: Function,
    args: Sequence[Any],
    *,
    of: str | None = None,
    device: str | Device | None = None,
    architecture: str | None = None,
    **options: Any,
) -> Explanation:
    """What the program of ``fun`` does, step by step: what it moves, computes, and asks of a GPU.

    Parameters
    ----------
    fun, args, of
        As in `stage_text`, and so are the ``options`` (``argnums``, ``in_axes``, ``batch_size``).
    device
        What the program is for; by default ``config.default_device``. A GPU need not be there.
    architecture
        Of the GPU, such as ``"sm_80"``.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> explain(gnp.tanh, [ShapeDtypeStruct((1000,), "float32")], device="cuda").excess
    1.0
    """
    _check_choice("of", of or "simplified", GRAPH_STAGES)
    stage = of or _default_graph(fun, args)
    with loop_notes() as notes:
        graph = stage_graph(fun, args, stage, **options)
    made = explained(graph, parse(device or config.default_device), architecture)
    return replace(made, notes=(*made.notes, *notes))


def _check_choice(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"{what} cannot be {name!r}; choose from {', '.join(known)}")


def _default_graph(fun: Function, args: Sequence[Any]) -> str:
    outputs = stage_graph(fun, args, "traced").out_avals
    return "adjoint" if len(outputs) == 1 and outputs[0].is_float and not outputs[0].shape else "simplified"


def _undecorated(fun: Function) -> Function:
    """The Python function itself: its compiled forms are what the stages show."""
    while isinstance(fun, CompiledGrad | Jit):
        fun = fun.fun
    return fun


def plain_function(fun: Function) -> Function:
    """The Python function itself, for arguments with `Static` around static values."""
    return _with_static_values(_undecorated(fun))


def _is_static(x: Any) -> bool:
    return type(x) is Static


def _with_static_values(fun: Function) -> Function:
    """``fun``, for arguments with `Static` around static values."""

    def call(*args: Any) -> Any:
        return fun(*tree_map(lambda x: x.value if _is_static(x) else x, args, is_leaf=_is_static))

    call.__name__ = name_of(fun)
    return call


def _with_batch_axes(args: Sequence[Any], in_axes: Any, batch_size: int) -> Tree:
    """The arguments with a batch axis where ``in_axes`` says."""
    leaves, treedef = flatten(tuple(args))
    axes = broadcast_prefix(in_axes, tuple(args))
    return unflatten(treedef, [_with_axis(x, a, batch_size) for x, a in zip(leaves, axes, strict=True)])


def _with_axis(x: Any, axis: int | None, batch_size: int) -> Any:
    if axis is None:
        return x
    a, weak, _ = type_of(as_spec(x))
    shape = a.shape
    if not -len(shape) - 1 <= axis <= len(shape):
        raise ValueError(f"in_axes asks for a batch axis {axis} in an argument of shape {shape}")
    at = axis % (len(shape) + 1)
    return ShapeDtypeStruct((*shape[:at], batch_size, *shape[at:]), a.dtype, weak)
