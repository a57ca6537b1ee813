"""`pure_callback`, `io_callback` and `debug.callback`: functions of the host inside traced programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from graphad.api.functions import check_callable, name_of
from graphad.ir.primitive import Primitive
from graphad.ir.types import Aval, aval, dtype_of
from graphad.primitives import callbacks
from graphad.primitives.callbacks import VMAP_METHODS, HostFunction
from graphad.trace.array import Array
from graphad.trace.pytree import Tree, TreeDef, flatten, structure_text, unflatten
from graphad.trace.recording import current, lift, state
from graphad.trace.semantics import as_operand
from graphad.trace.source import user_loc, where
from graphad.trace.tracebacks import boundary
from graphad.trace.tracer import Tracer

_NO_METHOD: Final = (
    "the callback {name} is called under vmap, but pure_callback was not told how. Pass vmap_method='sequential' (one "
    "call for each element), 'expand_dims' or 'broadcast_all' (one call with the batch axis in front)."
)
_ORDERED: Final = (
    "the callback {name} is ordered, but the elements of a vmap have no order. Call it outside of the vmap, or pass "
    "ordered=False: then it is called for one element after the other."
)


@boundary
def pure_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Tree,
    *args: Tree,
    vmap_method: str | None = None,
    **kwargs: Tree,
) -> Any:
    """Call a function of the host, whose results depend on its arguments alone.

    In compiled programs it is called each time the program runs, as often as the compiler likes: calls whose results
    are not used may be left out, equal calls merged. Elsewhere it is called at once.

    Parameters
    ----------
    callback
        A function of NumPy arrays, which it must not keep a hold on in order to change them: they are read-only.
    result_shape_dtypes
        What it returns: a pytree of `ShapeDtypeStruct`, or of arrays of the same types.
    *args, **kwargs
        Its arguments: arrays, numbers and containers of these.
    vmap_method
        How it is called under `vmap`. ``"sequential"``: for one element of the batch after the other. The others call
        it once, with results that have the batch axis in front: ``"expand_dims"`` with that axis in front of all
        arguments, of size 1 for those that are not batched; ``"broadcast_all"`` with all arguments repeated along it;
        ``"legacy_vectorized"`` with arguments that are not batched as they are. By default there is an error.

    Returns
    -------
    pytree
        What the callback returned, as arrays.

    Raises
    ------
    TypeError
        When it runs: the callback returned something else than it should.
    CallbackError
        Under `vmap` without a ``vmap_method``.
    DifferentiationError
        Where its results are differentiated. Give the function around it a derivative with `custom_jvp` or
        `custom_vjp`, whose rules may call callbacks as well.

    Examples
    --------
    >>> import math, graphad
    >>> @graphad.custom_jvp
    ... def gamma(x):
    ...     return graphad.pure_callback(math.gamma, graphad.ShapeDtypeStruct((), "float64"), x)
    >>> def digamma(x):
    ...     return (math.lgamma(float(x) + 1e-5) - math.lgamma(float(x) - 1e-5)) / 2e-5
    >>> @gamma.defjvp
    ... def gamma_jvp(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     y = gamma(x)
    ...     return y, y * graphad.pure_callback(digamma, graphad.ShapeDtypeStruct((), "float64"), x) * t
    >>> graphad.jit(gamma)(5.0)
    Array(24., dtype=float64)
    >>> print(f"{graphad.grad(gamma)(5.0):.2f}")
    36.15
    """
    if vmap_method is not None and vmap_method not in VMAP_METHODS:
        known = ", ".join(map(repr, VMAP_METHODS))
        raise ValueError(f"{where()}there is no vmap_method {vmap_method!r}; choose one of {known}, or None")
    found = (result_shape_dtypes, args, kwargs)
    return _called("pure_callback", callbacks.pure_callback, callback, *found, vmap_method, _NO_METHOD)


@boundary
def io_callback(
    callback: Callable[..., Any], result_shape_dtypes: Tree, *args: Tree, ordered: bool = False, **kwargs: Tree
) -> Any:
    """Call a function of the host that does something, exactly as often as the program says.

    Callbacks and prints of one program happen in its order. Python cannot branch on the results.

    Parameters
    ----------
    callback
        A function of NumPy arrays, which are read-only.
    result_shape_dtypes
        What it returns: a pytree of `ShapeDtypeStruct`, or of arrays of the same types; None for nothing.
    *args, **kwargs
        Its arguments: arrays, numbers and containers of these.
    ordered
        Refuse `vmap`, under which elements have no order. By default it is called for one after the other.

    Returns
    -------
    pytree
        What the callback returned, as arrays.

    Raises
    ------
    TypeError
        When it runs: the callback returned something else than it should.
    CallbackError
        Under `vmap` if ``ordered``; where `checkpoint` would compute the results again.
    DifferentiationError
        Where its results are differentiated; see `pure_callback`.

    Examples
    --------
    >>> import graphad, numpy as np
    >>> from graphad.experimental import io_callback
    >>> readings = iter([20.5, 21.0])
    >>> @graphad.jit
    ... def corrected(offset):
    ...     return offset + io_callback(lambda: np.float32(next(readings)), graphad.ShapeDtypeStruct((), "float32"))
    >>> corrected(1.0), corrected(1.0)
    (Array(21.5, dtype=float32), Array(22., dtype=float32))
    """
    found = (result_shape_dtypes, args, kwargs)
    method = None if ordered else "sequential"
    return _called("io_callback", callbacks.io_callback, callback, *found, method, _ORDERED)


@boundary
def debug_callback(callback: Callable[..., Any], *args: Tree, ordered: bool = False, **kwargs: Tree) -> None:
    """Call a function of the host with values of a running program; what it returns is dropped.

    It stands outside of the mathematics: derivatives do not call it again, `vmap` calls it for each element.

    Parameters
    ----------
    callback
        A function of NumPy arrays, which are read-only.
    *args, **kwargs
        Its arguments: arrays, numbers and containers of these.
    ordered
        Refuse `vmap`, under which elements have no order.

    Raises
    ------
    CallbackError
        Under `vmap` if ``ordered``.

    Examples
    --------
    >>> import graphad
    >>> seen = []
    >>> @graphad.jit
    ... def f(x):
    ...     graphad.debug.callback(lambda y: seen.append(float(y)), x * 2.0)
    ...     return x + 1.0
    >>> f(3.0), seen
    (Array(4., dtype=float32, weak_type=True), [6.0])
    """
    method = None if ordered else "sequential"
    _called("debug.callback", callbacks.io_callback, callback, None, args, kwargs, method, _ORDERED, drops=True)


def _called(
    caller: str,
    primitive: Primitive,
    callback: Callable[..., Any],
    result_shape_dtypes: Tree,
    args: tuple[Tree, ...],
    kwargs: dict[str, Tree],
    vmap_method: str | None,
    refusal: str,
    *,
    drops: bool = False,
) -> Any:
    """The results: in the running trace, or of a call now."""
    check_callable(callback, caller)
    promised, out_tree = flatten(result_shape_dtypes)
    avals = tuple([_promise(x, caller) for x in promised])
    leaves, in_tree = flatten((args, kwargs))
    operands = [as_operand(x, caller) for x in leaves]
    loc = user_loc(2)
    name = name_of(callback)
    host = HostFunction(
        callback, _Structured(in_tree, None if drops else out_tree, name, loc), (in_tree, out_tree, drops),
        name=name, loc=loc, vmap_method=vmap_method, refusal=refusal.format(name=name),
    )  # fmt: skip
    trace = current()
    if trace is None:
        return unflatten(out_tree, [Array(x) for x in host.call([np.asarray(x) for x in operands], avals)])
    # Also without a traced argument: it is called when the program runs, not when it is traced.
    trace.loc = loc
    atoms = tuple([lift(trace, x) for x in operands])
    return unflatten(out_tree, [Tracer(trace, n) for n in trace.emit(primitive, atoms, (host, avals))])


def _promise(x: Any, caller: str) -> Aval:
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise TypeError(
            f"{where()}{caller}: result_shape_dtypes has {x!r}, which says no type. Write "
            "graphad.ShapeDtypeStruct(shape, dtype) for each array that the callback returns."
        )
    return aval(tuple(x.shape), dtype_of(x.dtype))


class _Structured:
    """Calls a function of containers with flat arguments, and flattens what it returns (None: drops that)."""

    __slots__ = ("in_tree", "loc", "name", "out_tree")

    def __init__(self, in_tree: TreeDef, out_tree: TreeDef | None, name: str, loc: Any) -> None:
        self.in_tree, self.out_tree, self.name, self.loc = in_tree, out_tree, name, loc

    def __call__(self, function: Callable[..., Any], arrays: Sequence[Any]) -> Sequence[Any]:
        args, kwargs = unflatten(self.in_tree, arrays)
        stack, state.stack = state.stack, []  # what the function computes with graphad is no part of a running trace
        try:
            result = function(*args, **kwargs)
        finally:
            state.stack = stack
        if self.out_tree is None:
            return ()
        found, tree = flatten(result)
        if tree != self.out_tree:
            raise TypeError(
                f"{where(self.loc)}the callback {self.name} returned {structure_text(tree)}, but result_shape_dtypes "
                f"promises {structure_text(self.out_tree)}"
            )
        return found
