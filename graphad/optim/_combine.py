"""Composed gradient transformations: chained, on some parameters only, every n steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.optim._base import GradientTransformation, as_dtype_of, first_step, next_step, state_like, transformation
from graphad.trace.pytree import Tree, broadcast_prefix, flatten, tree_map, unflatten
from graphad.trace.source import where

Mask = Tree | Callable[[Tree], Tree]


def chain(*transforms: GradientTransformation) -> GradientTransformation:
    """One transformation after another; the state is a tuple of their states.

    >>> from graphad.optim import clip, scale
    >>> t = chain(clip(1.0), scale(-0.5))
    >>> t.update((4.0,), t.init((0.0,)))[0]
    (Array(-0.5, dtype=float32),)
    """

    def init(params: Tree) -> tuple[Any, ...]:
        return tuple([t.init(params) for t in transforms])

    def update(
        updates: Tree, state: tuple[Any, ...], params: Tree = None, **extra_args: Any
    ) -> tuple[Tree, tuple[Any, ...]]:
        if len(state) != len(transforms):
            raise ValueError(
                f"{where()}chain of {len(transforms)} transformations got a state for {len(state)}; "
                "make the state with the init of the same chain."
            )
        states: list[Any] = []
        for transform, inner in zip(transforms, state, strict=True):
            updates, inner_state = transform.update(updates, inner, params, **extra_args)
            states.append(inner_state)
        return updates, tuple(states)

    return GradientTransformation(init, update)


class MaskedState(NamedTuple):
    """The state of `masked`: that of the inner transformation, which does not see what is masked out."""

    inner_state: Any


def masked(inner: GradientTransformation, mask: Mask) -> GradientTransformation:
    """``inner`` on the parameters where ``mask`` is true; the other updates pass unchanged.

    Parameters
    ----------
    mask
        A tree of Python bools, like the parameters or a prefix of that, or a function from the parameters to one.

    Examples
    --------
    >>> from graphad.optim import scale
    >>> t = masked(scale(2.0), {"w": True, "b": False})
    >>> params = {"w": 1.0, "b": 1.0}
    >>> t.update(params, t.init(params))[0]
    {'w': Array(2., dtype=float32), 'b': 1.0}
    """

    def selected(tree: Tree, like: Tree) -> list[bool]:
        return [bool(m) for m in broadcast_prefix(mask(like) if callable(mask) else mask, tree)]

    def kept(tree: Tree, chosen: list[bool]) -> Tree:
        leaves, treedef = flatten(tree)
        return unflatten(treedef, [x if m else None for x, m in zip(leaves, chosen, strict=True)])

    def init(params: Tree) -> MaskedState:
        return MaskedState(inner.init(kept(params, selected(params, params))))

    def update(updates: Tree, state: MaskedState, params: Tree = None, **extra_args: Any) -> tuple[Tree, MaskedState]:
        chosen = selected(updates, updates if params is None else params)
        inner_params = None if params is None else kept(params, chosen)
        changed, inner_state = inner.update(kept(updates, chosen), state.inner_state, inner_params, **extra_args)
        leaves, treedef = flatten(updates)
        new = iter(flatten(changed)[0])
        merged = unflatten(treedef, [next(new) if m else x for x, m in zip(leaves, chosen, strict=True)])
        return merged, MaskedState(inner_state)

    return GradientTransformation(init, update)


class ApplyEveryState(NamedTuple):
    """The state of `apply_every`: the place within a period, and the updates that wait."""

    count: Any
    grad_acc: Tree


def apply_every(k: int = 1) -> GradientTransformation:
    """Updates summed over ``k`` steps and applied at the last of them; in between they are zero.

    >>> t = apply_every(2)
    >>> first, state = t.update((1.0,), t.init((0.0,)))
    >>> second, state = t.update((2.0,), state)
    >>> first, second
    ((Array(0., dtype=float32),), (Array(3., dtype=float32),))
    """

    def init(params: Tree) -> ApplyEveryState:
        return ApplyEveryState(first_step(), state_like(params, "apply_every"))

    def step(updates: Tree, state: ApplyEveryState) -> tuple[Tree, ApplyEveryState]:
        begin, emit = state.count == 0, state.count == k - 1
        total = tree_map(lambda g, a: as_dtype_of(g, gnp.where(begin, g, a + g)), updates, state.grad_acc)
        out = tree_map(lambda a: gnp.where(emit, a, gnp.zeros_like(a)), total)
        return out, ApplyEveryState((state.count + 1) % k, total)

    return transformation(init, step)


class MultiStepsState(NamedTuple):
    """The state of `MultiSteps`: mini-steps since the last step, steps done, inner state, gradients that wait."""

    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Tree


class MultiSteps:
    """Gradient accumulation: an optimiser that steps once in k calls, with the mean (or the sum) of their gradients.

    In between the updates are zero, so that the training loop stays as it is: a large batch in k mini-batches.

    Parameters
    ----------
    opt
        The optimiser.
    every_k_schedule
        k, or a function from the number of steps done to k.
    use_grad_mean
        The mean of the gradients, else their sum.

    Examples
    --------
    >>> from graphad.optim import sgd
    >>> optimizer = MultiSteps(sgd(1.0), 2)
    >>> state = optimizer.init(0.0)
    >>> first, state = optimizer.update(1.0, state)
    >>> second, state = optimizer.update(3.0, state)
    >>> first, second
    (Array(0., dtype=float32), Array(-2., dtype=float32))
    """

    def __init__(
        self, opt: GradientTransformation, every_k_schedule: int | Callable[[Any], Any], use_grad_mean: bool = True
    ) -> None:
        self.inner_opt = opt
        self._every_k = every_k_schedule
        self._use_grad_mean = use_grad_mean

    def init(self, params: Tree) -> MultiStepsState:
        acc = state_like(params, "MultiSteps", dtype=np.float32)
        acc = tree_map(lambda a, p: gnp.astype(a, np.result_type(a.dtype, gnp.asarray(p).dtype)), acc, params)
        return MultiStepsState(first_step(), first_step(), self.inner_opt.init(params), acc)

    def update(
        self, updates: Tree, state: MultiStepsState, params: Tree = None, **extra_args: Any
    ) -> tuple[Tree, MultiStepsState]:
        k = self._every_k(state.gradient_step) if callable(self._every_k) else self._every_k
        emit = state.mini_step == k - 1
        weight = 1.0 / (state.mini_step + 1)

        def accumulated(g: Any, a: Any) -> Any:
            return as_dtype_of(a, a + (g - a) * weight if self._use_grad_mean else a + g)

        total = tree_map(accumulated, updates, state.acc_grads)
        grads = tree_map(as_dtype_of, updates, total)
        out, inner = self.inner_opt.update(grads, state.inner_opt_state, params, **extra_args)
        return tree_map(lambda u: gnp.where(emit, u, gnp.zeros_like(u)), out), MultiStepsState(
            gnp.where(emit, 0, state.mini_step + 1),
            gnp.where(emit, next_step(state.gradient_step), state.gradient_step),
            tree_map(lambda new, old: as_dtype_of(old, gnp.where(emit, new, old)), inner, state.inner_opt_state),
            tree_map(lambda a: gnp.where(emit, gnp.zeros_like(a), a), total),
        )

    def has_updated(self, state: MultiStepsState) -> Any:
        """Whether the last `update` moved the parameters."""
        return gnp.logical_and(state.mini_step == 0, state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformation:
        """The same as a pair of functions, for `chain` and the like."""
        return GradientTransformation(self.init, self.update)
