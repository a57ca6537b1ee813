"""Optimisers as pairs of pure functions over pytrees, in optax's convention.

``init(params)`` gives the state, ``update(grads, state)`` what to add to the parameters and the next state, and
`apply_updates` adds it. All of it may be traced: a whole training step can be compiled.

>>> import graphad
>>> optimizer = graphad.optim.sgd(0.1)
>>> params = {"w": 1.0}
>>> state = optimizer.init(params)
>>> grads = graphad.grad(lambda p: p["w"] ** 2)(params)
>>> updates, state = optimizer.update(grads, state)
>>> graphad.optim.apply_updates(params, updates)
{'w': Array(0.8, dtype=float32)}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.trace.pytree import Tree, flatten, path_text, tree_map
from graphad.trace.semantics import as_operand
from graphad.trace.source import where

Scalar = Any  # a Python number, an Array of one element, or a tracer
LearningRate = Scalar | Callable[[Any], Scalar]  # a schedule is given the number of steps done

_LAST_STEP: Final = np.iinfo(np.int32).max


class Optimizer(NamedTuple):
    """Two pure functions.

    Attributes
    ----------
    init
        ``init(params) -> state``.
    update
        ``update(grads, state, params=None) -> (updates, state)``; the updates have the structure of the gradients, and
        are added to the parameters by `apply_updates`.
    """

    init: Callable[[Tree], Any]
    update: Callable[..., tuple[Tree, Any]]


class SgdState(NamedTuple):
    """The state of `sgd`: steps done, and the decaying sum of gradients (None without momentum)."""

    count: Any
    trace: Tree


class AdamState(NamedTuple):
    """The state of `adam`: steps done, and decaying averages of the gradients and of their squares."""

    count: Any
    mu: Tree
    nu: Tree


def sgd(learning_rate: LearningRate, momentum: Scalar | None = None, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent, with momentum if wanted.

    Parameters
    ----------
    learning_rate
        A number, or a function of the step.
    momentum
        How much of the sum of gradients the next step keeps, usually 0.9; None for none.
    nesterov
        Look ahead by one step of momentum (Nesterov 1983, in the form of Sutskever et al. 2013).

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> optimizer = sgd(0.5, momentum=0.9)
    >>> state = optimizer.init(gnp.array([1.0, 2.0]))
    >>> updates, state = optimizer.update(gnp.array([0.2, -0.2]), state)
    >>> updates
    Array([-0.1,  0.1], dtype=float32)
    """

    def init(params: Tree) -> SgdState:
        return SgdState(_first_step(), None if momentum is None else _zeros_like(params, "sgd"))

    def update(grads: Tree, state: SgdState, params: Tree = None) -> tuple[Tree, SgdState]:
        trace, direction = None, grads
        if momentum is not None:
            trace = tree_map(lambda g, t: _as(g, g + momentum * t), grads, state.trace)
            direction = tree_map(lambda g, t: g + momentum * t, grads, trace) if nesterov else trace
        rate = _at_step(learning_rate, state.count)
        return tree_map(lambda d: _as(d, -rate * d), direction), SgdState(_next_step(state.count), trace)

    return Optimizer(init, update)


def adam(
    learning_rate: LearningRate, b1: Scalar = 0.9, b2: Scalar = 0.999, eps: Scalar = 1e-8, *, eps_root: Scalar = 0.0
) -> Optimizer:
    """Adam: steps of nearly equal size in every parameter (Kingma and Ba 2015).

    Parameters
    ----------
    learning_rate
        A number, or a function of the step.
    b1, b2
        Decay of the averages of the gradients and of their squares.
    eps
        Added to the root of the average of squares.
    eps_root
        Added below the root; a small one makes the update differentiable where a gradient is zero.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> optimizer = adam(0.5)
    >>> state = optimizer.init(gnp.array([1.0, 2.0]))
    >>> updates, state = optimizer.update(gnp.array([3.0, -0.01]), state)
    >>> updates
    Array([-0.4999967,  0.4999962], dtype=float32)
    """

    def init(params: Tree) -> AdamState:
        return AdamState(_first_step(), _zeros_like(params, "adam"), _zeros_like(params, "adam"))

    def update(grads: Tree, state: AdamState, params: Tree = None) -> tuple[Tree, AdamState]:
        count = _next_step(state.count)
        mu = tree_map(lambda g, m: _as(g, b1 * m + (1 - b1) * g), grads, state.mu)
        nu = tree_map(lambda g, v: _as(g, b2 * v + (1 - b2) * (g * g)), grads, state.nu)
        rate = _at_step(learning_rate, state.count)

        def step(m: Any, v: Any) -> Any:
            mean, square = _unbiased(m, b1, count), _unbiased(v, b2, count)
            return _as(m, -rate * (mean / (gnp.sqrt(square + eps_root) + eps)))

        return tree_map(step, mu, nu), AdamState(count, mu, nu)

    return Optimizer(init, update)


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """``params + updates``, each in its parameter's dtype.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> apply_updates((gnp.ones(2), None), (gnp.array([0.5, -1.0]), None))
    (Array([1.5, 0. ], dtype=float32), None)
    """
    return tree_map(lambda p, u: _as(p, p + u), params, updates)


def _as(like: Any, x: Any) -> Any:
    """``x`` in the dtype of ``like``: neither a schedule nor a state may widen a small float."""
    return gnp.astype(x, as_operand(like).dtype)


def _zeros_like(params: Tree, name: str) -> Tree:
    for k, p in enumerate(flatten(params)[0]):
        aval = as_operand(p, name).aval
        if not aval.is_float:
            path = path_text(params, k)
            raise TypeError(
                f"{where()}{name} moves floating-point parameters, but params{path} is {aval}. "
                "Keep it out of params, or write 3.0 for 3."
            )
    return tree_map(gnp.zeros_like, params)


def _first_step() -> Any:
    return gnp.zeros((), np.int32)


def _next_step(count: Any) -> Any:
    """One more, but never beyond what an int32 holds."""
    return gnp.where(count < _LAST_STEP, count + 1, count)


def _at_step(learning_rate: LearningRate, count: Any) -> Scalar:
    return learning_rate(count) if callable(learning_rate) else learning_rate


def _unbiased(average: Any, decay: Scalar, count: Any) -> Any:
    """``average`` after ``count`` steps from zero, with the weight that is missing made up for."""
    dtype = np.result_type(average.dtype, np.float32)  # a count beyond 256 is no bfloat16
    return average / (1 - decay ** count.astype(dtype)).astype(average.dtype)
