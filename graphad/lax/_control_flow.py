"""Loops and branches that are one equation, however often they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from graphad.api import control_flow
from graphad.api.checkpointed_loops import scan_with_checkpoints
from graphad.api.vmap import vmap
from graphad.numpy import concatenate, moveaxis
from graphad.trace.bind import type_of
from graphad.trace.pytree import flatten, tree_map, unflatten
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")
T = TypeVar("T")

_NOT_GIVEN: Any = object()


@boundary
def scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry,
    xs: X | None = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
    *,
    checkpoint: int | str | None = None,
) -> tuple[Carry, Y]:
    """Run ``f`` over slices of ``xs``, carrying values from turn to turn; the results are stacked.

    It does what ``for x in xs: carry, y = f(carry, x)`` does, as one loop in the compiled program: compiling it takes
    no longer for more turns.

    Parameters
    ----------
    f
        ``f(carry, x) -> (carry, y)``. It is traced once. The carry keeps its structure and types.
    init
        The first carry: a container of arrays and numbers. Weak numbers take the type that ``f`` makes of them.
    xs
        A container of arrays, whose first axes are of one length; None with a ``length``, for as many turns.
    length
        The number of turns, needed only without ``xs``.
    reverse
        From the last slice to the first; the results keep the places of their slices.
    unroll
        Has no effect on results; the compiler decides.
    checkpoint
        How many states of the carry reverse mode may store: the turns between them are run again, as often as it takes
        (twice or three times in all for a million turns with 1,420 or 180 states). ``"sqrt"`` for about half the square
        root of the number of turns, which are run twice. None stores what the derivative of each turn reads.
        A loop with checkpoints has no forward mode; turns that run again print, and call the host, again. [1]_
        They compute the same states to the last bit, and cotangents are added in the order of the turns, so gradients
        are those of the plain loop to the last bit, unless the compiler adds up the terms of the plain loop in another
        order: what is a sum over scalars of 64 to 65,536 turns, or over products of a matrix of weights with vectors.
        `graphad.grad` with ``max_residual_bytes`` chooses the loops, and the numbers, itself.

    Returns
    -------
    tuple
        The last carry, and the ``y`` of all turns, stacked along a first axis.

    References
    ----------
    .. [1] A. Griewank, A. Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26(1), 2000.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> scan(lambda total, x: (total + x, total), gnp.float32(0), gnp.array([1.0, 2.0, 3.0]))
    (Array(6., dtype=float32), Array([0., 1., 3.], dtype=float32))
    """
    if checkpoint is not None:
        return scan_with_checkpoints(f, init, xs, length, reverse, checkpoint)
    return control_flow.scan(f, init, xs, length, reverse)


@boundary
def fori_loop(
    lower: Any, upper: Any, body_fun: Callable[[Any, T], T], init_val: T, *, unroll: int | bool | None = None
) -> T:
    """``for i in range(lower, upper): x = body_fun(i, x)`` as one loop.

    Parameters
    ----------
    lower, upper
        Integers; traced ones too. Reverse-mode derivatives work for both.
    body_fun
        ``body_fun(i, x) -> x`` of the same structure and types.
    init_val
        The first ``x``.
    unroll
        Has no effect on results; the compiler decides.

    Examples
    --------
    >>> fori_loop(0, 5, lambda i, x: x + i, 0)
    Array(10, dtype=int32, weak_type=True)
    """
    return control_flow.fori_loop(lower, upper, body_fun, init_val)


@boundary
def while_loop(cond_fun: Callable[[T], Any], body_fun: Callable[[T], T], init_val: T) -> T:
    """``while cond_fun(x): x = body_fun(x)`` as one loop, with derivatives in every mode.

    Parameters
    ----------
    cond_fun
        ``cond_fun(x) -> bool``.
    body_fun
        ``body_fun(x) -> x`` of the same structure and types.
    init_val
        The first ``x``.

    Examples
    --------
    >>> import graphad
    >>> def newton(a):
    ...     return while_loop(lambda x: abs(x * x - a) > 1e-5, lambda x: 0.5 * (x + a / x), a)
    >>> newton(2.0), graphad.grad(newton)(2.0)
    (Array(1.4142157, dtype=float32, weak_type=True), Array(0.35356593, dtype=float32, weak_type=True))
    """
    return control_flow.while_loop(cond_fun, body_fun, init_val)


@boundary
def cond(
    pred: Any, true_fun: Callable[..., T], false_fun: Callable[..., T], *operands: Any, operand: Any = _NOT_GIVEN
) -> T:
    """``true_fun(*operands)`` if ``pred``, else ``false_fun(*operands)``: one of the two runs.

    Under `vmap` with a batched ``pred`` both run, and the results are selected; so are derivatives, which are those of
    the function that is chosen alone.

    Parameters
    ----------
    pred
        A boolean or number without axes.
    true_fun, false_fun
        They return results of the same structure and types.
    operands
        What the functions take.

    Examples
    --------
    >>> cond(True, lambda x: x + 1.0, lambda x: x * 2.0, 3.0)
    Array(4., dtype=float32, weak_type=True)
    """
    if operand is not _NOT_GIVEN:
        operands = (*operands, operand)
    return control_flow.switch(control_flow.scalar_predicate(pred, "cond"), [false_fun, true_fun], operands, "cond")


@boundary
def switch(index: Any, branches: Sequence[Callable[..., T]], *operands: Any, operand: Any = _NOT_GIVEN) -> T:
    """``branches[index](*operands)``, with ``index`` clamped to the number of branches.

    Parameters
    ----------
    index
        An integer without axes.
    branches
        They return results of the same structure and types.
    operands
        What the branches take.

    Examples
    --------
    >>> switch(1, [lambda x: x, lambda x: -x], 2.0)
    Array(-2., dtype=float32, weak_type=True)
    """
    if operand is not _NOT_GIVEN:
        operands = (*operands, operand)
    if not branches:
        raise ValueError(f"{where()}lax.switch needs at least one branch.")
    kind = type_of(index).aval
    if kind.shape or not kind.dtype.is_integer:
        raise TypeError(f"{where()}lax.switch chooses by an integer without axes, not {kind}.")
    if len(branches) == 1:
        return branches[0](*operands)
    return control_flow.switch(index, list(branches), operands, "switch")


@boundary
def map(f: Callable[[X], Y], xs: X, *, batch_size: int | None = None) -> Y:  # noqa: A001 - JAX's name
    """``f`` over slices of ``xs``, one after the other; the results are stacked.

    Parameters
    ----------
    f
        A function of one argument.
    xs
        A container of arrays, whose first axes are of one length.
    batch_size
        So many slices at once, as by `vmap`.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> map(lambda x: x * x, gnp.array([1.0, 2.0]))
    Array([1., 4.], dtype=float32)
    """
    if batch_size is None:
        return scan(lambda _, x: (None, f(x)), None, xs)[1]
    leaves, treedef = flatten(xs)
    n = type_of(leaves[0]).aval.shape[0] if leaves else 0
    blocks, rest = divmod(n, batch_size)
    parts: list[Any] = []
    if blocks:
        shaped = [x[: blocks * batch_size].reshape(blocks, batch_size, *x.shape[1:]) for x in leaves]
        ys = scan(lambda _, x: (None, vmap(f)(x)), None, unflatten(treedef, shaped))[1]
        parts.append(tree_map(lambda y: y.reshape(blocks * batch_size, *y.shape[2:]), ys))
    if rest:
        parts.append(vmap(f)(unflatten(treedef, [x[blocks * batch_size :] for x in leaves])))
    if len(parts) == 1:
        return parts[0]
    return tree_map(lambda *ys: concatenate(ys), *parts)


@boundary
def associative_scan(fn: Callable[[T, T], T], elems: T, reverse: bool = False, axis: int = 0) -> T:
    """Running combinations of ``elems`` along ``axis`` by an associative function, in logarithmically many steps.

    Parameters
    ----------
    fn
        ``fn(a, b)`` of slices of several elements at once, of the same structure as ``elems``.
    elems
        A container of arrays of one length along ``axis``.
    reverse
        From the last to the first.
    axis
        The axis to run along.

    Notes
    -----
    Pairs of neighbours are combined, then scanned, and the elements between follow from those: Blelloch, "Prefix sums
    and their applications" (1990).

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> associative_scan(lambda a, b: a * b, gnp.array([1, 2, 3, 4]))
    Array([ 1,  2,  6, 24], dtype=int32)
    """
    leaves, treedef = flatten(elems)
    leaves = [moveaxis(x, axis, 0) for x in leaves]
    lengths = {x.shape[0] for x in leaves}
    if len(lengths) != 1:
        raise ValueError(f"{where()}lax.associative_scan got arrays of lengths {sorted(lengths)} along axis {axis}.")
    if reverse:
        leaves = [x[::-1] for x in leaves]

    def combine(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        return flatten(fn(unflatten(treedef, list(a)), unflatten(treedef, list(b))))[0]

    leaves = _scanned(combine, leaves)
    if reverse:
        leaves = [x[::-1] for x in leaves]
    return unflatten(treedef, [moveaxis(x, 0, axis) for x in leaves])


def _scanned(combine: Callable[[Sequence[Any], Sequence[Any]], list[Any]], xs: list[Any]) -> list[Any]:
    n = xs[0].shape[0]
    if n < 2:
        return xs
    pairs = combine([x[:-1:2] for x in xs], [x[1::2] for x in xs])
    odd = _scanned(combine, pairs)
    before = odd if n % 2 else [y[:-1] for y in odd]
    even = combine(before, [x[2::2] for x in xs]) if n > 2 else [x[:0] for x in xs]
    even = [concatenate([x[:1], e]) for x, e in zip(xs, even, strict=True)]
    return [_interleaved(e, o) for e, o in zip(even, odd, strict=True)]


def _interleaved(even: Any, odd: Any) -> Any:
    """``even[0], odd[0], even[1], ...``; ``even`` has as many elements as ``odd``, or one more."""
    n = odd.shape[0]
    both = concatenate([even[:n, None], odd[:, None]], axis=1).reshape(2 * n, *odd.shape[1:])
    whole = both if even.shape[0] == n else concatenate([both, even[n:]])
    return whole.astype(whole.dtype)  # never weak, as in JAX
