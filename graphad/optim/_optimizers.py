"""The optimisers people call by name, each a chain of transformations."""

from __future__ import annotations

from typing import Any

from graphad.optim._base import GradientTransformation, Scalar, ScalarOrSchedule, identity
from graphad.optim._combine import Mask, chain
from graphad.optim._lbfgs import scale_by_lbfgs
from graphad.optim._line_search import scale_by_zoom_linesearch
from graphad.optim._moments import (
    scale_by_adam,
    scale_by_lion,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
    trace,
)
from graphad.optim._simple import add_decayed_weights, scale, scale_by_learning_rate


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """Stochastic gradient descent, with momentum if wanted.

    Parameters
    ----------
    learning_rate
        A number, or a function of the steps done.
    momentum
        How much of the sum of gradients the next step keeps, usually 0.9; None for none.
    nesterov
        Look ahead by one step of momentum (Nesterov 1983).
    accumulator_dtype
        The dtype of that sum; that of the parameters by default.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> optimizer = sgd(0.5, momentum=0.9)
    >>> state = optimizer.init(gnp.array([1.0, 2.0]))
    >>> updates, state = optimizer.update(gnp.array([0.2, -0.2]), state)
    >>> updates
    Array([-0.1,  0.1], dtype=float32)
    """
    first = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(first, scale_by_learning_rate(learning_rate))


def adam(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam: steps of nearly equal size in every parameter (Kingma and Ba 2015).

    Parameters
    ----------
    learning_rate
        A number, or a function of the steps done.
    b1, b2
        Decay of the averages of the gradients and of their squares.
    eps
        Added to the root of the average of squares.
    eps_root
        Added below the root; a small one makes the update differentiable where a gradient is zero.
    mu_dtype
        The dtype of the average of the gradients; that of the parameters by default.
    nesterov
        With Nesterov's momentum (Dozat 2016).

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> optimizer = adam(0.5)
    >>> state = optimizer.init(gnp.array([1.0, 2.0]))
    >>> updates, state = optimizer.update(gnp.array([3.0, -0.01]), state)
    >>> updates
    Array([-0.4999967,  0.4999962], dtype=float32)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov), scale_by_learning_rate(learning_rate)
    )


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask | None = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """`adam` with decoupled weight decay (Loshchilov and Hutter 2019).

    ``update`` needs the parameters. ``mask`` says which of them decay, see `masked`.

    >>> import graphad.numpy as gnp
    >>> optimizer = adamw(0.5, weight_decay=0.1)
    >>> params = gnp.array([1.0, 2.0])
    >>> optimizer.update(gnp.zeros(2), optimizer.init(params), params)[0]
    Array([-0.05, -0.1 ], dtype=float32)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Scalar = 0.9,
    eps: Scalar = 1e-8,
    initial_scale: Scalar = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Scalar | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:
    """Gradients divided by the root of the average of their squares (Hinton 2012).

    Parameters
    ----------
    decay, initial_scale, bias_correction
        How the average of squares decays, where it begins, and whether the beginning is made up for.
    eps, eps_in_sqrt
        What keeps the divisor from zero, and whether it stands below the root.
    centered
        Divide by the standard deviation instead (Graves 2013).
    momentum, nesterov
        As in `sgd`, applied after the learning rate.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> optimizer = rmsprop(0.5, decay=0.75)
    >>> optimizer.update(gnp.array([3.0, -4.0]), optimizer.init(gnp.zeros(2)))[0]
    Array([-1.,  1.], dtype=float32)
    """
    scaling = scale_by_stddev if centered else scale_by_rms
    return chain(
        scaling(decay, eps, initial_scale, eps_in_sqrt, bias_correction),
        scale_by_learning_rate(learning_rate),
        identity() if momentum is None else trace(momentum, nesterov),
    )


def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: Scalar = 0.1, eps: Scalar = 1e-7
) -> GradientTransformation:
    """Gradients divided by the root of the sum of all their squares so far (Duchi et al. 2011).

    >>> import graphad.numpy as gnp
    >>> optimizer = adagrad(0.5, initial_accumulator_value=7.0)
    >>> optimizer.update(gnp.array([3.0]), optimizer.init(gnp.zeros(1)))[0]
    Array([-0.375], dtype=float32)
    """
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))


def lion(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.99,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: Mask | None = None,
) -> GradientTransformation:
    """Steps of equal size, in the direction of the sign of a decaying average (Chen et al. 2023).

    ``update`` needs the parameters, as their weights decay. ``mask`` says which of them do, see `masked`.

    >>> import graphad.numpy as gnp
    >>> optimizer = lion(0.5, weight_decay=0.0)
    >>> optimizer.update(gnp.array([3.0, -1e-3]), optimizer.init(gnp.zeros(2)), gnp.zeros(2))[0]
    Array([-0.5,  0.5], dtype=float32)
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def lbfgs(
    learning_rate: ScalarOrSchedule | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: GradientTransformation | None = None,
) -> GradientTransformation:
    """L-BFGS: Newton's method with an inverse Hessian known from the last few steps (Liu and Nocedal 1989).

    The length of a step comes from a line search, so ``update`` needs to know the function: call
    ``update(grad, state, params, value=value, grad=grad, value_fn=f)``. It evaluates ``f`` compiled. Keyword arguments
    that ``f`` takes besides the parameters are handed on to it.

    Parameters
    ----------
    learning_rate
        A factor on the direction; None leaves the length of the step to the line search.
    memory_size
        How many steps are remembered.
    scale_init_precond
        Begin from the identity scaled to the last step, else from the identity.
    linesearch
        A transformation such as `scale_by_zoom_linesearch`, which is the default with at most 20 trials; `identity()`
        for none.

    Examples
    --------
    >>> import graphad
    >>> import graphad.numpy as gnp
    >>> def f(x): return gnp.sum((x - gnp.arange(3.0)) ** 2)
    >>> optimizer = lbfgs()
    >>> x = gnp.zeros(3)
    >>> state = optimizer.init(x)
    >>> value_and_grad = graphad.optim.value_and_grad_from_state(f)
    >>> for _ in range(3):
    ...     value, grad = value_and_grad(x, state=state)
    ...     updates, state = optimizer.update(grad, state, x, value=value, grad=grad, value_fn=f)
    ...     x = graphad.optim.apply_updates(x, updates)
    >>> bool(f(x) < 1e-9)
    True
    """
    return chain(
        scale_by_lbfgs(memory_size, scale_init_precond),
        scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate),
        scale_by_zoom_linesearch(20, initial_guess_strategy="one") if linesearch is None else linesearch,
    )
