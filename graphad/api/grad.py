"""`grad` and `value_and_grad`: reverse mode of functions with a scalar result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, overload

from graphad.api.branching import differentiated
from graphad.api.functions import (
    Arguments,
    Aux,
    Function,
    arrays_in,
    as_argnums,
    check_callable,
    check_float_inputs,
    name_of,
    trace_floats,
    with_chosen,
)
from graphad.api.residual_limit import bounded
from graphad.api.stages import gradient, run_on
from graphad.api.tangents import derivative_types, zeros
from graphad.api.transformed import Transformed
from graphad.errors import DifferentiationError
from graphad.trace.bind import Traced, type_of
from graphad.trace.pytree import TreeDef, unflatten
from graphad.trace.semantics import cast
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary
from graphad.transforms.transpose import Transposed

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")


@overload
def grad(
    fun: Callable[P, Any],
    argnums: int = ...,
    has_aux: Literal[False] = ...,
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, Any]: ...
@overload
def grad(
    fun: Callable[P, Any],
    argnums: Sequence[int],
    has_aux: Literal[False] = ...,
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[Any, ...]]: ...
@overload
def grad(
    fun: Callable[P, tuple[Any, A]],
    argnums: int = ...,
    *,
    has_aux: Literal[True],
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[Any, A]]: ...
@overload
def grad(
    fun: Callable[P, tuple[Any, A]],
    argnums: int,
    has_aux: Literal[True],
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[Any, A]]: ...
@overload
def grad(
    fun: Callable[P, tuple[Any, A]],
    argnums: Sequence[int],
    has_aux: Literal[True],
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[tuple[Any, ...], A]]: ...
@overload
def grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = ...,
    has_aux: bool = ...,
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, Any]: ...
@boundary
def grad(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    *,
    allow_int: bool = False,
    max_residual_bytes: int | None = None,
) -> Callable[..., Any]:
    """The gradient of a scalar function.

    Parameters
    ----------
    fun
        A function with a scalar float result.
    argnums
        The positional argument or arguments to differentiate: arrays, numbers, containers of these. The others may be
        anything; ``fun`` gets them as they are.
    has_aux
        ``fun`` returns ``(value, aux)``; so does the gradient: ``(gradient, aux)``. ``aux`` may hold any objects.
    allow_int
        Integer inputs are allowed; their derivative has dtype ``float0``.
    max_residual_bytes
        How many bytes loops may store for reverse mode, all together. Loops that would store more get checkpoints, as
        many as fit, and run turns again, as with the ``checkpoint`` of `graphad.lax.scan`, the largest loops first;
        those that store little are left as they are. A `graphad.lax.while_loop` always gets checkpoints, up to 1,024,
        for nobody knows how many turns it will have; they are stored as it runs, and its turns run again no more often
        than if it were known. The limit is for one call, under `vmap` for one element of the batch; loops in rules of
        custom derivatives store what all their turns need. What else the program computes is not counted: what loops
        carry, and what the compiler computes for all turns of a short loop at once, which may be as much again. None is
        no limit. ``explain`` of compiled functions says what was done.

    Returns
    -------
    callable
        Takes the arguments of ``fun``; returns the gradient, of the structure and shapes of the argument (a tuple of
        them if ``argnums`` is a tuple).

    Raises
    ------
    TypeError
        For integer inputs (write ``2.0`` for ``2``) and results that are not scalar (use `jacobian`).
    ValueError
        If ``max_residual_bytes`` is too little; the message says how much works.

    Examples
    --------
    >>> import graphad
    >>> graphad.grad(lambda x: x**2)(3.0)
    Array(6., dtype=float32, weak_type=True)

    The plain gradient of this loop stores about 800 kB:

    >>> from graphad import lax
    >>> def loss(a):
    ...     return lax.fori_loop(0, 100_000, lambda _, x: x + 1e-3 * a * (1.0 - x), 0.0)
    >>> graphad.grad(loss, max_residual_bytes=10_000)(0.05)
    Array(0.67383933, dtype=float32, weak_type=True)
    """
    check_callable(fun, "grad")
    both = _value_and_gradient(fun, argnums, has_aux, allow_int, max_residual_bytes)

    def gradient_of(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    options: dict[str, Any] = {"argnums": argnums, "has_aux": has_aux, "allow_int": allow_int}
    return Transformed(gradient_of, fun, grad, "grad", **options, max_residual_bytes=max_residual_bytes)


@overload
def value_and_grad(
    fun: Callable[P, R],
    argnums: int = ...,
    has_aux: Literal[False] = ...,
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[R, Any]]: ...
@overload
def value_and_grad(
    fun: Callable[P, R],
    argnums: Sequence[int],
    has_aux: Literal[False] = ...,
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[R, tuple[Any, ...]]]: ...
@overload
def value_and_grad(
    fun: Callable[P, tuple[R, A]],
    argnums: int = ...,
    *,
    has_aux: Literal[True],
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[tuple[R, A], Any]]: ...
@overload
def value_and_grad(
    fun: Callable[P, tuple[R, A]],
    argnums: int,
    has_aux: Literal[True],
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[tuple[R, A], Any]]: ...
@overload
def value_and_grad(
    fun: Callable[P, tuple[R, A]],
    argnums: Sequence[int],
    has_aux: Literal[True],
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, tuple[tuple[R, A], tuple[Any, ...]]]: ...
@overload
def value_and_grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = ...,
    has_aux: bool = ...,
    *,
    allow_int: bool = ...,
    max_residual_bytes: int | None = ...,
) -> Callable[P, Any]: ...
@boundary
def value_and_grad(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    *,
    allow_int: bool = False,
    max_residual_bytes: int | None = None,
) -> Callable[..., Any]:
    """The value and the gradient of a scalar function, computed together.

    Parameters
    ----------
    fun, argnums, has_aux, allow_int, max_residual_bytes
        As for `grad`.

    Returns
    -------
    callable
        Takes the arguments of ``fun``; returns ``(value, gradient)``, with ``has_aux`` ``((value, aux), gradient)``.

    Raises
    ------
    TypeError, ValueError
        As `grad`.

    Examples
    --------
    >>> import graphad
    >>> graphad.value_and_grad(lambda x: x**2)(3.0)
    (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    check_callable(fun, "value_and_grad")
    both = _value_and_gradient(fun, argnums, has_aux, allow_int, max_residual_bytes)
    options: dict[str, Any] = {"argnums": argnums, "has_aux": has_aux, "allow_int": allow_int}
    return Transformed(both, fun, value_and_grad, "value_and_grad", **options, max_residual_bytes=max_residual_bytes)


def _value_and_gradient(
    fun: Function, argnums: int | Sequence[int], has_aux: bool, allow_int: bool, limit: int | None
) -> Callable[..., tuple[Any, Any]]:
    name = name_of(fun)
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ValueError(f"{where()}grad({name}): max_residual_bytes is a number of bytes or None, not {limit!r}.")

    def value_and_gradient_of(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        wanted = as_argnums(argnums, len(args), "grad", name)
        chosen = sorted(set(wanted))
        arguments = Arguments.chosen(args, chosen)
        if not allow_int:
            check_float_inputs(arguments, "grad", name)
        beside = arrays_in(([x for i, x in enumerate(args) if i not in chosen], kwargs))
        call = with_chosen(fun, chosen, args, kwargs)

        def take() -> tuple[Aux | None, Traced, Transposed]:
            aux = Aux("grad", name) if has_aux else None
            traced = trace_floats(call, arguments, name, aux, beside)
            _check_scalar(traced, has_aux, name)
            return aux, traced, _adjoint(traced, limit, name)

        aux, traced, adjoint = differentiated(take)
        outputs, leaves = _outputs_and_gradient(traced, adjoint, arguments)
        result = unflatten(traced.out_tree, outputs)
        value = result if aux is None else (result[0], aux.joined(result[1]))
        trees = dict(zip(chosen, unflatten(arguments.treedef, leaves)[0], strict=True))
        return value, trees[wanted[0]] if isinstance(argnums, int) else tuple([trees[i] for i in wanted])

    return value_and_gradient_of


def _adjoint(traced: Traced, limit: int | None, name: str) -> Transposed:
    n_captures = len(traced.captures)
    mask = (True,) * (traced.graph.n_inputs - n_captures) + (False,) * n_captures
    return gradient(traced.graph if limit is None else bounded(traced.graph, mask, limit, name), mask)


def _outputs_and_gradient(traced: Traced, adjoint: Transposed, arguments: Arguments) -> tuple[list[Any], list[Any]]:
    """Outputs of the traced function, and the gradient for each leaf of the arguments."""
    floats = [x for x in arguments.leaves if type_of(x).aval.is_float]
    results = run_on(adjoint.graph, [*floats, *traced.captures])
    n_outputs = len(traced.graph.outputs)
    found = iter(results[n_outputs:])
    is_nonzero = iter(adjoint.nonzero)
    grads: list[Any] = []
    for a, weak, _ in derivative_types(arguments.leaves, traced):
        grads.append(cast(next(found), a.dtype, weak) if a.is_float and next(is_nonzero) else zeros(a, weak))
    return results[:n_outputs], grads


def _check_scalar(traced: Traced, has_aux: bool, name: str) -> None:
    value_tree = traced.out_tree.children()[0] if has_aux else traced.out_tree
    avals = traced.graph.out_avals
    if value_tree.num_leaves != 1 or value_tree.num_nodes != 1:
        raise TypeError(
            f"{where()}grad takes functions with one scalar result, but {name} returns {_structure(value_tree)}. "
            "Return the scalar loss (has_aux=True passes other results along), or use jacobian or vjp."
        )
    if avals[0].shape:
        raise TypeError(
            f"{where()}grad takes functions with a scalar result, but {name} returns {avals[0]}. "
            "Use jacobian for all derivatives, or sum the result: .sum()."
        )
    if not avals[0].is_float:
        raise DifferentiationError(
            f"{where()}grad takes functions with a real result, but {name} returns {avals[0]}, which has no "
            "derivative. Convert it: .astype(float)."
        )


def _structure(treedef: TreeDef) -> str:
    kind: Any = treedef.type
    if not treedef.num_leaves:
        return "nothing" if kind is type(None) else f"an empty {kind.__name__}"
    return f"a {kind.__name__} of {treedef.num_leaves} array{'s' if treedef.num_leaves > 1 else ''}"
