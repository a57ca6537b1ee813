"""`vmap`: one function over many inputs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from graphad.api.functions import arrays_in, call_with, check_callable, name_of
from graphad.api.stages import run_on
from graphad.api.tracing import trace_with_loops
from graphad.api.transformed import Transformed
from graphad.ir.types import BY_NUMPY, aval
from graphad.primitives.layout import repeat_leading, transpose
from graphad.trace.bind import Spec, Traced, type_of
from graphad.trace.float0 import float0, hidden, is_float0
from graphad.trace.keys import hidden_axes
from graphad.trace.pytree import TreeDef, broadcast_prefix, cut_by_prefix, flatten, unflatten
from graphad.trace.recording import axes_in_scope, state
from graphad.trace.semantics import as_operand, with_weak
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary
from graphad.transforms.batch import batched

P = ParamSpec("P")
R = TypeVar("R")
InAxes = Any  # int | None | pytree of these


@boundary
def vmap(
    fun: Callable[P, R],
    in_axes: InAxes = 0,
    out_axes: InAxes = 0,
    axis_name: str | None = None,
    axis_size: int | None = None,
) -> Callable[P, R]:
    """``fun`` over one axis of its arguments, without a loop.

    Parameters
    ----------
    fun
        Works on single examples.
    in_axes
        The axis of each positional argument to map over, or None to pass it as it is (a NumPy array as an `Array`); an
        int for all, or a tuple with an int, None or a matching container of these per argument. Keyword arguments are
        mapped over axis 0.
    out_axes
        Where the mapped axis goes in the results; None for results that do not depend on it.
    axis_name
        A name for the batch axis. With it ``fun`` can ask for what the elements of the batch have together: `lax.psum`,
        `lax.pmean`, `lax.all_gather`, `lax.axis_index` and their like.
    axis_size
        The size of the batch axis, needed only if no argument is mapped.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.vmap(lambda x, y: x * y, in_axes=(0, None))(gnp.array([1.0, 2.0]), 3.0)
    Array([3., 6.], dtype=float32)
    >>> graphad.vmap(lambda x: x / graphad.lax.psum(x, "i"), axis_name="i")(gnp.array([1.0, 3.0]))
    Array([0.25, 0.75], dtype=float32)
    """
    check_callable(fun, "vmap")
    name = name_of(fun)
    if axis_name is not None and type(axis_name) is not str:
        raise TypeError(f"{where()}vmap({name}): axis_name is a string or None, not {axis_name!r}")
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)

    def mapped(*args: P.args, **kwargs: P.kwargs) -> R:
        parts, prefix, axes_of_parts = parts_of(in_axes, args, kwargs, name)
        mapped_parts = [p for p, a in zip(parts, axes_of_parts, strict=True) if a is not None]
        leaves, treedef = flatten(mapped_parts)
        counts = [len(flatten(p)[0]) for p in mapped_parts]
        axes = [a for n, a in zip(counts, [a for a in axes_of_parts if a is not None], strict=True) for _ in range(n)]
        leaves = [_operand(x, name) for x in leaves]
        shapes = [_seen(x.shape, h) for x, h in zip(leaves, hidden_axes(mapped_parts), strict=True)]
        axes = [_normal_axis(a, shape, name) for a, shape in zip(axes, shapes, strict=True)]
        size = _batch_size(axes, shapes, axis_size, name)
        if any([is_float0(x) for x in leaves]):
            leaves, treedef, axes = _without_float0(leaves, treedef, axes)
        leaves = [move_axis(x, a, 0) for a, x in zip(axes, leaves, strict=True)]

        def call(elements: Any) -> Any:
            it = iter(elements)
            whole = [_whole(p) if a is None else next(it) for p, a in zip(parts, axes_of_parts, strict=True)]
            return call_with(fun)(unflatten(prefix, whole))

        beside = arrays_in([p for p, a in zip(parts, axes_of_parts, strict=True) if a is None])
        axes_here = state.axes if axis_name is None else (*state.axes, (axis_name, size))
        with axes_in_scope(axes_here):
            traced = trace_with_loops(call, [_element_type(x) for x in leaves], treedef, name=name, beside=beside)
        mask = (True,) * len(leaves) + (False,) * len(traced.captures)
        places, out_tree, wanted, hidden = _output_axes(out_axes, traced, name)
        force = all([a is not None for a in wanted])
        graph, out_mask = batched(traced.graph, mask, size, force, axis_name)
        results = run_on(graph, [*leaves, *traced.captures])
        placed = [
            _repeated(k, a, size, name) if is_float0(k) else _place(results[k], a, out_mask[k], size, h, name)
            for k, a, h in zip(places, wanted, hidden, strict=True)
        ]
        return unflatten(out_tree, placed)

    return Transformed(
        mapped, fun, vmap, "vmap", in_axes=in_axes, out_axes=out_axes, axis_name=axis_name, axis_size=axis_size
    )


def _whole(part: Any) -> Any:
    """An unmapped argument; a NumPy array becomes ours, for a batched value may index it."""
    return as_operand(part) if type(part) is np.ndarray and part.ndim and part.dtype in BY_NUMPY else part


def parts_of(
    in_axes: InAxes, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> tuple[list[Any], TreeDef, list[Any]]:
    """``(args, kwargs)`` cut where ``in_axes`` has its leaves: the parts, how they fit together, the axis of each.

    Subtrees at None are not flattened.
    """
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise ValueError(
            f"{where()}vmap({name}): in_axes has {len(in_axes)} entries, but the call has {len(args)} positional "
            "arguments. Give one entry for each, or one int for all."
        )
    try:
        return cut_by_prefix((in_axes, 0) if kwargs else (in_axes, {}), (args, kwargs))
    except ValueError as error:
        raise ValueError(
            f"{where()}vmap({name}): in_axes={in_axes!r} does not match the structure of the arguments. "
            "Give an int or None for a whole argument, or a container like the argument."
        ) from error


def _operand(x: Any, name: str) -> Any:
    if is_float0(x):
        return x
    try:
        return as_operand(x, f"vmap({name})")
    except TypeError as error:
        advice = "Pass what is not mapped by position, with None in in_axes."
        raise TypeError(f"{error}. {advice}") from None


def _seen(shape: tuple[int, ...], hidden: int) -> tuple[int, ...]:
    """The shape that users see: keys have an axis less than their words."""
    return shape[: len(shape) - hidden]


def _normal_axis(axis: Any, shape: tuple[int, ...], name: str) -> int:
    if not isinstance(axis, int):
        raise TypeError(f"{where()}vmap({name}): in_axes must hold ints and None, not {axis!r}")
    ndim = len(shape)
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"{where()}vmap({name}): in_axes asks for axis {axis} of an argument of shape {shape}, which has "
            f"{ndim} ax{'i' if ndim == 1 else 'e'}s. Use None to pass it unmapped."
        )
    return axis % ndim


def _batch_size(axes: Sequence[int], shapes: Sequence[tuple[int, ...]], axis_size: int | None, name: str) -> int:
    sizes = {shape[a] for a, shape in zip(axes, shapes, strict=True)}
    if axis_size is not None:
        sizes.add(axis_size)
    if len(sizes) == 1:
        return sizes.pop()
    if not sizes:
        raise ValueError(f"{where()}vmap({name}): no argument is mapped; give axis_size=, or an axis in in_axes")
    shown = ", ".join(map(str, shapes))
    raise ValueError(
        f"{where()}vmap({name}): the mapped axes have different sizes {sorted(sizes)} (arguments of shapes {shown}, "
        f"mapped over {list(axes)}). Map over axes of one size, and give None for what is not mapped."
    )


def _element_type(x: Any) -> Spec:
    a, weak, _ = type_of(x)
    return Spec(aval(a.shape[1:], a.dtype), weak)


def _without_float0(leaves: list[Any], treedef: TreeDef, axes: Sequence[int]) -> tuple[list[Any], TreeDef, list[int]]:
    """The leaves without arrays of float0, which are part of the structure of each batch element."""
    elements = [
        np.zeros(_dropped(x.shape, a), float0) if is_float0(x) else x for x, a in zip(leaves, axes, strict=True)
    ]
    rest, structure = flatten(hidden(unflatten(treedef, elements)))
    return rest, structure, [a for x, a in zip(leaves, axes, strict=True) if not is_float0(x)]


def _dropped(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _output_axes(out_axes: InAxes, traced: Traced, name: str) -> tuple[list[Any], TreeDef, list[Any], list[int]]:
    """The leaves of the result (each a number of an output, or an array of float0), their structure and axes.

    And how many axes of each users do not see.
    """
    example = unflatten(traced.out_tree, list(range(traced.out_tree.num_leaves)))
    try:
        return *flatten(example), broadcast_prefix(out_axes, example), hidden_axes(example)
    except ValueError as error:
        raise ValueError(
            f"{where()}vmap({name}): out_axes={out_axes!r} does not match the structure of the result. Give an "
            "int for all results, or a container like the result."
        ) from error


def _place(result: Any, axis: Any, is_mapped: bool, size: int, hidden: int, name: str) -> Any:
    if axis is None:
        if is_mapped:
            raise ValueError(
                f"{where()}vmap({name}): out_axes is None for a result that has a batch axis: give an int."
            )
        return result
    if not is_mapped:  # only where out_axes has None elsewhere, so that the batch was not forced
        result = with_weak(repeat_leading(result, size), result.weak_type)
    return move_axis(result, 0, _output_axis(axis, len(result.shape) - hidden, name))


def _repeated(x: np.ndarray[Any, Any], axis: Any, size: int, name: str) -> np.ndarray[Any, Any]:
    """The results of float0 with the batch axis."""
    if axis is None:
        return x
    k = _output_axis(axis, x.ndim + 1, name)
    return np.zeros((*x.shape[:k], size, *x.shape[k:]), float0)


def _output_axis(axis: Any, ndim: int, name: str) -> int:
    if not isinstance(axis, int):
        raise TypeError(f"{where()}vmap({name}): out_axes must hold ints and None, not {axis!r}")
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"{where()}vmap({name}): out_axes={axis} is no axis of a result with {ndim} axes, the mapped one among them"
        )
    return axis % ndim


def move_axis(x: Any, source: int, target: int) -> Any:
    """``x`` with axis ``source`` moved to ``target``."""
    if source == target:
        return x
    order = [i for i in range(len(x.shape)) if i != source]
    order.insert(target, source)
    return with_weak(transpose(x, perm=tuple(order)), x.weak_type)
