"""The direction of L-BFGS: a gradient times an inverse Hessian that is known from the last few steps."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.optim._base import (
    GradientTransformation,
    add_scaled,
    as_dtype_of,
    first_step,
    global_norm,
    next_step,
    params_required,
    state_like,
    tree_vdot,
)
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.source import where


class Secant(NamedTuple):
    """One pair of L-BFGS: the changes of parameters and gradients, and 1 over their inner product.

    A weight of zero says that there was no such step.
    """

    params: Tree
    updates: Tree
    weight: Any


class ScaleByLBFGSState(NamedTuple):
    """The state of `scale_by_lbfgs`: steps done, the last parameters and gradients, the last steps, oldest first."""

    count: Any
    params: Tree
    updates: Tree
    memory: tuple[Secant, ...]


def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> GradientTransformation:
    """Gradients times the inverse Hessian of L-BFGS (Nocedal and Wright 1999, algorithm 7.4).

    Parameters
    ----------
    memory_size
        How many steps are remembered.
    scale_init_precond
        Begin from the identity scaled to the last step (at the first step, to a gradient no longer than 1), else from
        the identity.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> t = scale_by_lbfgs()
    >>> x = gnp.array([0.0, 0.0])
    >>> t.update(gnp.array([3.0, 4.0]), t.init(x), x)[0]
    Array([0.6, 0.8], dtype=float32)
    """
    if memory_size < 1:
        raise ValueError(f"{where()}scale_by_lbfgs takes a memory_size of at least 1, got {memory_size}.")

    def init(params: Tree) -> ScaleByLBFGSState:
        zeros = state_like(params, "lbfgs")
        return ScaleByLBFGSState(first_step(), zeros, zeros, (Secant(zeros, zeros, _zero_weight(zeros)),) * memory_size)

    def update(
        updates: Tree, state: ScaleByLBFGSState, params: Tree = None, **extra_args: Any
    ) -> tuple[Tree, ScaleByLBFGSState]:
        params = params_required(params, "scale_by_lbfgs")
        latest = _secant(params, updates, state)
        memory = (*state.memory[1:], latest)
        scale = _initial_scale(updates, latest, state.count) if scale_init_precond else 1.0
        direction = _two_loops(updates, memory, scale)
        return direction, ScaleByLBFGSState(next_step(state.count), params, updates, memory)

    return GradientTransformation(init, update)


def _zero_weight(params: Tree) -> Any:
    return gnp.zeros_like(tree_vdot(params, params))


def _secant(params: Tree, updates: Tree, state: ScaleByLBFGSState) -> Secant:
    """The step from the state's point to this one; nothing at the very first."""
    began = state.count > 0

    def change(new: Any, old: Any) -> Any:
        return gnp.where(began, new - old, gnp.zeros_like(old))

    d_params, d_updates = tree_map(change, params, state.params), tree_map(change, updates, state.updates)
    curvature = tree_vdot(d_updates, d_params)
    return Secant(d_params, d_updates, gnp.where(curvature == 0, 0.0, 1.0 / gnp.where(curvature == 0, 1.0, curvature)))


def _initial_scale(updates: Tree, latest: Secant, count: Any) -> Any:
    """The curvature along the last step; at the first step, what makes a long gradient one of length 1."""
    squares = tree_vdot(latest.updates, latest.updates)
    curvature = tree_vdot(latest.updates, latest.params)
    scale = gnp.where(squares > 0, curvature / gnp.where(squares > 0, squares, 1.0), 1.0)
    norm = global_norm(updates)
    return gnp.where(count > 0, scale, 1.0 / gnp.maximum(norm, 1.0))


def _two_loops(updates: Tree, memory: tuple[Secant, ...], scale: Any) -> Tree:
    """The two-loop recursion: through the steps from the newest to the oldest, and back."""
    direction, alphas = updates, []
    for secant in reversed(memory):
        alpha = secant.weight * tree_vdot(secant.params, direction)
        direction = add_scaled(direction, -alpha, secant.updates)
        alphas.append(alpha)
    direction = tree_map(lambda d: as_dtype_of(d, scale * d), direction)
    for secant, alpha in zip(memory, reversed(alphas), strict=True):
        beta = secant.weight * tree_vdot(secant.updates, direction)
        direction = add_scaled(direction, alpha - beta, secant.params)
    return direction
