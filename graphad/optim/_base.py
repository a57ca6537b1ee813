"""Gradient transformations: the pair of functions, and arithmetic on trees of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np

from graphad import numpy as gnp
from graphad.trace.pytree import Tree, flatten, path_text, tree_map
from graphad.trace.semantics import as_operand
from graphad.trace.source import where

Scalar = Any  # a Python number, an Array of one element, or a tracer
Schedule = Callable[[Any], Scalar]  # from the number of steps done to a value
ScalarOrSchedule = Scalar | Schedule
State = TypeVar("State")

_LAST_STEP: Final = np.iinfo(np.int32).max


class UpdateFn(Protocol):
    """The type of `GradientTransformation.update`."""

    def __call__(self, updates: Tree, state: Any, params: Tree = None, **extra_args: Any) -> tuple[Tree, Any]: ...


class GradientTransformation(NamedTuple):
    """Two pure functions: an optimiser, or a step of one.

    Attributes
    ----------
    init
        ``init(params) -> state``.
    update
        ``update(updates, state, params=None, **extra_args) -> (updates, state)``: gradients in, and out comes what
        `apply_updates` adds to the parameters. Extra arguments (the `value` and `value_fn` of a line search) are for
        those transformations that want them; the others ignore them.
    """

    init: Callable[[Tree], Any]
    update: UpdateFn


class EmptyState(NamedTuple):
    """The state of a transformation that has none."""


def transformation(
    init: Callable[[Tree], State], step: Callable[[Tree, State], tuple[Tree, State]]
) -> GradientTransformation:
    """The transformation ``updates, state -> step(updates, state)``, which needs nothing else.

    >>> count = transformation(lambda params: 0, lambda updates, state: (updates, state + 1))
    >>> count.update((3.0,), count.init((0.0,)))
    ((3.0,), 1)
    """

    def update(updates: Tree, state: State, params: Tree = None, **extra_args: Any) -> tuple[Tree, State]:
        return step(updates, state)

    return GradientTransformation(init, update)


def stateless(f: Callable[[Tree, Tree], Tree]) -> GradientTransformation:
    """The transformation ``updates -> f(updates, params)``.

    >>> updates, _ = stateless(lambda updates, params: (2 * updates[0],)).update((3.0,), EmptyState())
    >>> updates
    (6.0,)
    """

    def update(updates: Tree, state: Any, params: Tree = None, **extra_args: Any) -> tuple[Tree, Any]:
        return f(updates, params), state

    return GradientTransformation(lambda params: EmptyState(), update)


def identity() -> GradientTransformation:
    """The transformation that leaves updates as they are.

    >>> identity().update((3.0,), EmptyState())[0]
    (3.0,)
    """
    return stateless(lambda updates, params: updates)


def set_to_zero() -> GradientTransformation:
    """The transformation that sets updates to zero.

    >>> set_to_zero().update((3.0,), EmptyState())[0]
    (Array(0., dtype=float32, weak_type=True),)
    """
    return stateless(lambda updates, params: tree_map(gnp.zeros_like, updates))


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """``params + updates``, each in its parameter's dtype.

    >>> import graphad.numpy as gnp
    >>> apply_updates((gnp.ones(2), None), (gnp.array([0.5, -1.0]), None))
    (Array([1.5, 0. ], dtype=float32), None)
    """
    return tree_map(lambda p, u: as_dtype_of(p, p + u), params, updates)


def incremental_update(new_tensors: Tree, old_tensors: Tree, step_size: Scalar) -> Tree:
    """``step_size * new + (1 - step_size) * old``: an average of parameters that follows them slowly.

    >>> incremental_update({"w": 1.0}, {"w": 0.0}, 0.25)
    {'w': Array(0.25, dtype=float32)}
    """
    return tree_map(lambda n, o: as_dtype_of(o, step_size * n + (1.0 - step_size) * o), new_tensors, old_tensors)


def global_norm(updates: Tree) -> Any:
    """The Euclidean norm of all leaves taken together.

    >>> import graphad.numpy as gnp
    >>> global_norm({"w": gnp.array([3.0]), "b": (gnp.array(4.0),)})
    Array(5., dtype=float32)
    """
    norm, leaves = wide_norm(updates), flatten(updates)[0]
    wanted = gnp.result_type(*leaves) if leaves else norm.dtype
    return gnp.astype(norm, wanted) if wanted.itemsize == 2 else norm


def wide_norm(updates: Tree) -> Any:
    """`global_norm`, of 16-bit floats in float32: their squares soon overflow."""
    wide = tree_map(in_32_bits, updates)
    return gnp.sqrt(tree_vdot(wide, wide))


def in_32_bits(x: Any) -> Any:
    """``x``, in float32 if it is narrower."""
    return gnp.astype(x, np.float32) if as_operand(x).aval.dtype.bits < 32 else x


def tree_vdot(x: Tree, y: Tree) -> Any:
    """The inner product of two trees."""
    products = [gnp.sum(a * b) for a, b in zip(flatten(x)[0], flatten(y)[0], strict=True)]
    return sum(products[1:], start=products[0]) if products else gnp.zeros(())


def add_scaled(x: Tree, scale: Scalar, y: Tree) -> Tree:
    """``x + scale * y`` in the dtypes of ``x``."""
    return tree_map(lambda a, b: as_dtype_of(a, a + scale * b), x, y)


def as_dtype_of(like: Any, x: Any) -> Any:
    """``x`` in the dtype of ``like``: neither a schedule nor a state may widen a small float."""
    return gnp.astype(x, as_operand(like).dtype)


def state_like(params: Tree, name: str, value: Scalar = 0.0, dtype: Any = None) -> Tree:
    """A tree of arrays full of ``value``, one for each parameter; `name` is the optimiser's, for the error."""
    for k, p in enumerate(flatten(params)[0]):
        aval = as_operand(p, name).aval
        if not aval.is_float:
            path = path_text(params, k)
            raise TypeError(
                f"{where()}{name} moves floating-point parameters, but params{path} is {aval}. "
                "Keep it out of params, or write 3.0 for 3."
            )
    return tree_map(lambda p: gnp.full_like(p, value, dtype), params)


def in_dtype(tree: Tree, dtype: Any) -> Tree:
    """``tree`` with all leaves in ``dtype``; None leaves them as they are."""
    return tree if dtype is None else tree_map(lambda x: gnp.astype(x, dtype), tree)


def first_step() -> Any:
    """The count of a new state."""
    return gnp.zeros((), np.int32)


def next_step(count: Any) -> Any:
    """One more, but never beyond what an int32 holds."""
    return gnp.where(count < _LAST_STEP, count + 1, count)


def params_required(params: Tree, name: str) -> Tree:
    """``params``, or an error if they were not handed to `update`."""
    if params is None:
        raise ValueError(f"{where()}{name} needs the parameters: call update(grads, state, params).")
    return params
