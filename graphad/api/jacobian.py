"""Whole matrices of derivatives: `jacfwd`, `jacrev`, `jacobian`, `hessian`, and `hvp` for their products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar, overload

import numpy as np

from graphad.api.functions import (
    Arguments,
    Function,
    as_argnums,
    check_callable,
    check_float_inputs,
    name_of,
    with_chosen,
)
from graphad.api.grad import grad
from graphad.api.linear_maps import jvp, linearize, vjp
from graphad.api.tangents import converted
from graphad.api.transformed import Transformed
from graphad.api.vmap import move_axis, vmap
from graphad.errors import DifferentiationError
from graphad.ir.types import Aval
from graphad.primitives.layout import reshape
from graphad.primitives.shape import slice_axis
from graphad.trace.array import Array
from graphad.trace.bind import type_of
from graphad.trace.pytree import flatten, unflatten
from graphad.trace.semantics import as_operand, with_weak
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

P = ParamSpec("P")
A = TypeVar("A")


@overload
def jacfwd(
    fun: Callable[P, Any], argnums: int | Sequence[int] = ..., has_aux: Literal[False] = ...
) -> Callable[P, Any]: ...
@overload
def jacfwd(
    fun: Callable[P, tuple[Any, A]], argnums: int | Sequence[int] = ..., *, has_aux: Literal[True]
) -> Callable[P, tuple[Any, A]]: ...
@overload
def jacfwd(
    fun: Callable[P, tuple[Any, A]], argnums: int | Sequence[int], has_aux: Literal[True]
) -> Callable[P, tuple[Any, A]]: ...
@overload
def jacfwd(fun: Callable[P, Any], argnums: int | Sequence[int] = ..., has_aux: bool = ...) -> Callable[P, Any]: ...
@boundary
def jacfwd(fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian by forward mode: one pass per input element. Best for few inputs and many outputs.

    Parameters
    ----------
    fun
        A function of arrays with arrays as results.
    argnums
        The positional argument or arguments to differentiate.
    has_aux
        ``fun`` returns ``(value, aux)``; the result is ``(jacobian, aux)``.

    Returns
    -------
    callable
        Its result has the structure of the output, each leaf with the structure of the input; for an output of shape
        ``O`` and an input of shape ``I`` an array of shape ``O + I``.

    Raises
    ------
    TypeError
        For inputs and results that are no floats.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> print(graphad.jacfwd(lambda x: x**2)(gnp.array([1.0, 2.0])))
    [[2. 0.]
     [0. 4.]]
    """
    check_callable(fun, "jacfwd")

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        partial, chosen = _on_chosen(fun, argnums, args, kwargs, "jacfwd")
        inputs, in_tree = flatten(chosen)
        value, derivative, *aux = linearize(partial, *chosen, has_aux=has_aux)
        _check_float_results(value, fun, "jacfwd")
        columns = vmap(derivative)(*unflatten(in_tree, _basis(inputs)))
        outputs, out_tree = flatten(value)
        blocks = [
            _split(move_axis(c, 0, len(c.shape) - 1), inputs, type_of(y).aval.shape, lead=True)
            for y, c in zip(outputs, flatten(columns)[0], strict=True)
        ]
        nested = [unflatten(in_tree, b) for b in blocks]
        jac = unflatten(out_tree, [n[0] if isinstance(argnums, int) else n for n in nested])
        return (jac, aux[0]) if has_aux else jac

    return Transformed(jacobian_of, fun, jacfwd, "jacfwd", argnums=argnums, has_aux=has_aux)


@overload
def jacrev(
    fun: Callable[P, Any], argnums: int | Sequence[int] = ..., has_aux: Literal[False] = ...
) -> Callable[P, Any]: ...
@overload
def jacrev(
    fun: Callable[P, tuple[Any, A]], argnums: int | Sequence[int] = ..., *, has_aux: Literal[True]
) -> Callable[P, tuple[Any, A]]: ...
@overload
def jacrev(
    fun: Callable[P, tuple[Any, A]], argnums: int | Sequence[int], has_aux: Literal[True]
) -> Callable[P, tuple[Any, A]]: ...
@overload
def jacrev(fun: Callable[P, Any], argnums: int | Sequence[int] = ..., has_aux: bool = ...) -> Callable[P, Any]: ...
@boundary
def jacrev(fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian by reverse mode: one pass per output element. Best for many inputs and few outputs.

    Parameters
    ----------
    fun, argnums, has_aux
        As for `jacfwd`, as is the result.

    Raises
    ------
    TypeError
        For inputs and results that are no floats.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> print(graphad.jacrev(lambda x: x**2)(gnp.array([1.0, 2.0])))
    [[2. 0.]
     [0. 4.]]
    """
    check_callable(fun, "jacrev")

    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        partial, chosen = _on_chosen(fun, argnums, args, kwargs, "jacrev")
        inputs, in_tree = flatten(chosen)
        value, pullback, *aux = vjp(partial, *chosen, has_aux=has_aux)
        outputs, out_tree = flatten(value)
        _check_float_results(value, fun, "jacrev")
        rows = vmap(pullback)(unflatten(out_tree, _basis(outputs)))
        by_input = [
            _split(r, outputs, type_of(x).aval.shape, lead=False) for x, r in zip(inputs, flatten(rows)[0], strict=True)
        ]
        nested = [unflatten(in_tree, [b[k] for b in by_input]) for k in range(len(outputs))]
        jac = unflatten(out_tree, [n[0] if isinstance(argnums, int) else n for n in nested])
        return (jac, aux[0]) if has_aux else jac

    return Transformed(jacobian_of, fun, jacrev, "jacrev", argnums=argnums, has_aux=has_aux)


jacobian = jacrev


@overload
def hessian(
    fun: Callable[P, Any], argnums: int | Sequence[int] = ..., has_aux: Literal[False] = ...
) -> Callable[P, Any]: ...
@overload
def hessian(
    fun: Callable[P, tuple[Any, A]], argnums: int | Sequence[int] = ..., *, has_aux: Literal[True]
) -> Callable[P, tuple[Any, A]]: ...
@overload
def hessian(
    fun: Callable[P, tuple[Any, A]], argnums: int | Sequence[int], has_aux: Literal[True]
) -> Callable[P, tuple[Any, A]]: ...
@overload
def hessian(fun: Callable[P, Any], argnums: int | Sequence[int] = ..., has_aux: bool = ...) -> Callable[P, Any]: ...
@boundary
def hessian(fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The matrix of second derivatives of a function, forward over reverse.

    Parameters
    ----------
    fun, argnums, has_aux
        As for `jacfwd`. For an output of shape ``O`` and inputs of shapes ``I`` and ``J`` there is an array of shape
        ``O + I + J``.

    Raises
    ------
    TypeError
        For inputs and results that are no floats.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> print(graphad.hessian(lambda x: x[0] ** 3 + x[1] ** 2 + x[0] * x[1])(gnp.array([3.0, 2.0])))
    [[18.  1.]
     [ 1.  2.]]
    """
    return jacfwd(jacrev(fun, argnums, has_aux), argnums, has_aux)


@boundary
def hvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a scalar function at ``primals`` times a vector, without forming the matrix.

    Parameters
    ----------
    fun
        A function of arrays with a scalar float result.
    primals, tangents
        The arguments, and the vector in as many parts: tuples, as for `jvp`. The parts are converted to the dtypes of
        the arguments: SciPy's optimisers hand over integers too.

    Returns
    -------
    pytree
        What ``grad(fun)`` would have: the product for one argument, a tuple of products for several.

    Raises
    ------
    TypeError
        As `grad` and `jvp`.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.hvp(lambda x: (x**3).sum(), (gnp.array([1.0, 2.0]),), (gnp.array([1.0, 0.0]),))
    Array([6., 0.], dtype=float32)
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(fun, argnums), primals, converted(primals, tangents))[1]


def _on_chosen(
    fun: Function, argnums: int | Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any], transform: str
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """``fun`` as a function of the chosen arguments alone, and those arguments."""
    wanted = as_argnums(argnums, len(args), transform, name_of(fun))
    chosen = Arguments.chosen(args, wanted)
    check_float_inputs(chosen, transform, name_of(fun))
    call = with_chosen(fun, wanted, args, kwargs)

    def partial(*values: Any) -> Any:
        return call(values)

    partial.__name__ = name_of(fun)
    return partial, tuple([args[i] for i in wanted])


def _check_float_results(value: Any, fun: Function, transform: str) -> None:
    for y in flatten(value)[0]:
        a = type_of(y).aval
        if not a.is_float:
            raise DifferentiationError(
                f"{where()}{transform}({name_of(fun)}): a result is {a}, which has no derivative. "
                "Return it as aux (has_aux=True), or convert it: .astype(float)."
            )


def _basis(leaves: Sequence[Any]) -> list[Array]:
    """The standard basis of the space of ``leaves``: for each leaf an array of shape (total size, *leaf shape)."""
    avals: list[Aval] = [type_of(x).aval for x in leaves]
    total = sum(a.size for a in avals)
    start = 0
    basis: list[Array] = []
    for a in avals:
        block = np.zeros((total, a.size), a.dtype.numpy)
        block[start + np.arange(a.size), np.arange(a.size)] = 1
        basis.append(Array(block.reshape(total, *a.shape)))
        start += a.size
    return basis


def _split(x: Any, leaves: Sequence[Any], shape: tuple[int, ...], lead: bool) -> list[Any]:
    """Cut the flat basis axis of ``x`` (last if ``lead``, else first) into the leaves it enumerates, reshaped."""
    blocks: list[Any] = []
    x = as_operand(x)
    axis = len(x.shape) - 1 if lead else 0
    start = 0
    for leaf in leaves:
        a = type_of(leaf).aval
        block = slice_axis(x, axis, start, start + a.size)
        final = (*shape, *a.shape) if lead else (*a.shape, *shape)
        blocks.append(with_weak(reshape(block, shape=final), x.weak_type))
        start += a.size
    return blocks
