"""One step of training as one compiled program: loss, gradient, update, and all that decides the next step."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.functions import check_callable, name_of
from graphad.api.grad import value_and_grad
from graphad.api.jit import jit
from graphad.optim import GradientTransformation, apply_updates
from graphad.random import fold_in
from graphad.trace.array import Array
from graphad.trace.pytree import Tree, flatten, path_text, tree_map
from graphad.trace.semantics import as_operand
from graphad.trace.source import where
from graphad.train._data import Key, key_words, to_device
from graphad.train._scale import LossScale, Precision, all_finite, narrow_dtype, narrowed

Loss = Callable[..., Any]


class TrainState(NamedTuple):
    """All that a training is between two steps: a pytree of arrays that stays on the device.

    Attributes
    ----------
    params
        The parameters.
    opt_state
        The optimiser's state; learning-rate schedules count in it.
    step
        Steps done.
    key
        What the random numbers of every step come from, together with its number.
    loss_scale
        Of mixed precision in float16, else None.
    halted
        The step whose loss or gradient was not finite, -1 if there was none. From it on nothing changes.
    """

    params: Tree
    opt_state: Any
    step: Any
    key: Any
    loss_scale: LossScale | None
    halted: Any


class Step:
    """A compiled training step; made by `make_step`."""

    def __init__(
        self,
        loss: Loss,
        optimizer: GradientTransformation,
        *,
        accumulate: int,
        precision: Precision | None,
        loss_scale: LossScale | None,
        has_aux: bool,
        donate: bool,
        halt: bool,
    ) -> None:
        check_callable(loss, "make_step")
        if accumulate < 1:
            raise ValueError(f"{where()}make_step: accumulate={accumulate}; a batch has at least one part.")
        self.loss = loss
        self.name = name_of(loss)
        self.optimizer = optimizer
        self.accumulate = accumulate
        self.precision = precision
        self.has_aux = has_aux
        self.halt = halt
        self.takes_key = _takes_key(loss)
        self._narrow = narrow_dtype(precision)
        self._loss_scale = LossScale() if precision == "float16" and loss_scale is None else loss_scale

        def train_step(state: TrainState, batch: Tree) -> tuple[TrainState, Any]:
            return self._advanced(state, batch)

        self._program = jit(train_step, donate_argnums=0) if donate else jit(train_step)

    def init(self, params: Tree, key: Key | None = None) -> TrainState:
        """The state before the first step, on the default device; ``params`` are copied, and so stay the caller's."""
        check_params(params)
        params = tree_map(_own, params)
        opt_state = tree_map(_own, self.optimizer.init(params))
        scale = None if self._loss_scale is None else tree_map(_own, self._loss_scale.typed())
        step, halted = (_own(np.asarray(n, np.int32)) for n in (0, -1))
        return to_device(TrainState(params, opt_state, step, _own(key_words(key)), scale, halted))

    def __call__(self, state: TrainState, batch: Tree) -> tuple[TrainState, Any]:
        """The state after one step, and the loss (with ``has_aux`` the loss and aux) before it."""
        return self._program(state, batch)

    def compute_loss(self, params: Tree, batch: Tree, key: Any) -> tuple[Any, Any]:
        """The loss at one batch, in float32 or wider, and aux."""
        named = {"key": key} if self.takes_key else {}
        result = self.loss(narrowed(params, self._narrow), *as_arguments(narrowed(batch, self._narrow)), **named)
        loss, aux = self._parted(result)
        aval = as_operand(loss, self.name).aval
        if aval.shape or not aval.is_float:
            raise TypeError(
                f"{where()}the loss of a training is one float, but {self.name} returns {aval}. "
                + ("Average it: return gnp.mean(loss)." if aval.shape else "Convert it: loss.astype(float).")
            )
        return (gnp.astype(loss, np.float32) if aval.dtype.bits < 32 else loss), aux

    def loss_and_grads(
        self, params: Tree, batch: Tree, key: Any, scale: LossScale | None
    ) -> tuple[tuple[Any, Any], Tree]:
        """``((loss, aux), gradient)``: averages over the parts of the batch, the loss scale taken out again."""

        def scaled(params: Tree, part: Tree, key: Any) -> tuple[Any, Any]:
            loss, aux = self.compute_loss(params, part, key)
            return (loss if scale is None else loss * scale.value), (loss, aux)

        gradient = value_and_grad(scaled, has_aux=True)
        total: Any = None
        for k, part in enumerate(_parts(batch, self.accumulate)):
            (_, results), grads = gradient(params, part, key if self.accumulate == 1 else fold_in(key, k))
            total = (results, grads) if total is None else tree_map(gnp.add, total, (results, grads))
        results, grads = total
        if self.accumulate > 1:
            results, grads = tree_map(lambda x: x / self.accumulate, (results, grads))
        return results, grads if scale is None else tree_map(lambda g: g / scale.value, grads)

    def _advanced(self, state: TrainState, batch: Tree) -> tuple[TrainState, Any]:
        params, opt_state, step, key, scale, halted = state
        step_key = fold_in(key, step)
        (loss, aux), grads = self.loss_and_grads(params, batch, step_key, scale)
        updates, new_opt_state = self.optimizer.update(
            grads,
            opt_state,
            params,
            value=loss,
            grad=grads,
            value_fn=lambda p: self.compute_loss(p, batch, step_key)[0],
        )
        new = (apply_updates(params, updates), new_opt_state)
        result = (loss, aux) if self.has_aux else loss
        if scale is None and not self.halt:
            return TrainState(new[0], new[1], step + 1, key, None, halted), result
        finite = all_finite((loss, grads))
        running = halted < 0
        if self.halt:
            failed = gnp.logical_not(finite)
            if scale is not None:  # the scale has no part in the loss itself
                hopeless = gnp.logical_or(scale.exhausted, gnp.logical_not(gnp.isfinite(loss)))
                failed = gnp.logical_and(failed, hopeless)
            halted = gnp.where(gnp.logical_and(running, failed), step, halted)
        params, opt_state = _selected(gnp.logical_and(finite, running), new, (params, opt_state))
        if scale is not None:
            scale = _selected(running, scale.adjusted(finite), scale)
        return TrainState(params, opt_state, gnp.where(halted < 0, step + 1, step), key, scale, halted), result

    def _parted(self, result: Any) -> tuple[Any, Any]:
        if not self.has_aux:
            if len(flatten(result)[0]) != 1 or isinstance(result, (tuple, list, dict)):
                raise TypeError(
                    f"{where()}the loss of a training is one float, but {self.name} returns a {type(result).__name__}. "
                    "To pass other results along: make_step(loss, optimizer, has_aux=True)."
                )
            return result, None
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{where()}make_step({self.name}, has_aux=True): {self.name} must return (loss, aux).")
        return result

    def __repr__(self) -> str:
        extras = [f"accumulate={self.accumulate}"] * (self.accumulate > 1)
        extras += [f"precision={self.precision!r}"] * (self.precision is not None)
        return f"<training step of {', '.join([self.name, *extras])}>"


def make_step(
    loss: Loss,
    optimizer: GradientTransformation,
    *,
    accumulate: int = 1,
    precision: Precision | None = None,
    loss_scale: LossScale | None = None,
    has_aux: bool = False,
    donate: bool = True,
    halt: bool = True,
) -> Step:
    """Forward, gradient and update as one compiled program: state in, state out.

    Parameters
    ----------
    loss
        ``loss(params, *batch)`` where a batch is a tuple, else ``loss(params, batch)``: the average over the examples.
        If it has a parameter named ``key``, that is a new key of `graphad.random` at every step.
    optimizer
        From `graphad.optim`, or made like those.
    accumulate
        Compute each batch in so many parts and average: the memory of one part is enough. It must divide the batch.
    precision
        ``"float16"`` or ``"bfloat16"``: loss and gradient are computed in 16 bits, on parameters that are kept and
        updated in their own dtype.
    loss_scale
        The factor to start from; for float16 it is ``LossScale()`` by default.
    has_aux
        The loss returns ``(loss, aux)``; aux is passed along, averaged over the parts.
    donate
        The state that goes in is used up.
    halt
        When the loss or the gradient is not finite, leave the parameters as they were and do nothing more: the number
        of the step is ``state.halted``.

    Returns
    -------
    Step
        ``step.init(params, key)`` gives the state, ``step(state, batch)`` the next one and the loss.

    Examples
    --------
    >>> import graphad
    >>> step = make_step(lambda params, x, y: gnp.mean((params["w"] * x - y) ** 2), graphad.optim.sgd(0.25))
    >>> state = step.init({"w": 0.0})
    >>> for _ in range(20):
    ...     state, loss = step(state, (np.float32([1, -1]), np.float32([3, -3])))
    >>> print(f"{state.params['w']:.4f} after {state.step} steps")
    3.0000 after 20 steps
    """
    return Step(
        loss,
        optimizer,
        accumulate=accumulate,
        precision=precision,
        loss_scale=loss_scale,
        has_aux=has_aux,
        donate=donate,
        halt=halt,
    )


def as_arguments(batch: Tree) -> tuple[Any, ...]:
    """What a function of a batch is called with: the parts of a tuple are arguments of their own."""
    return tuple(batch) if isinstance(batch, tuple) else (batch,)


def check_params(params: Tree) -> None:
    """Refuse parameters that cannot be trained."""
    leaves = flatten(params)[0]
    if not leaves:
        raise ValueError(f"{where()}there are no parameters to train: params is {params!r}.")
    for k, leaf in enumerate(leaves):
        aval = as_operand(leaf, "params").aval
        if not aval.is_float:
            raise TypeError(
                f"{where()}only floats can be trained, but params{path_text(params, k)} is {aval}. "
                "Keep it out of params (pass it with the data, or close over it), or write 3.0 for 3."
            )


def _own(leaf: Any) -> Array:
    """A copy that a donating program may use up, strongly typed."""
    return Array(np.array(as_operand(leaf), order="C"))


def _takes_key(loss: Loss) -> bool:
    try:
        return "key" in inspect.signature(loss).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def _parts(batch: Tree, count: int) -> list[Tree]:
    """The batch cut into ``count`` equal parts along the first axes."""
    if count == 1:
        return [batch]
    n = as_operand(flatten(batch)[0][0]).shape[0]
    if n % count:
        raise ValueError(
            f"{where()}accumulate={count} does not divide the batch of {n} examples. "
            f"Choose a batch size of {n - n % count or count} or another multiple of {count}."
        )
    size = n // count
    return [tree_map(lambda x, k=k: x[k * size : (k + 1) * size], batch) for k in range(count)]


def _selected(condition: Any, new: Tree, old: Tree) -> Any:
    return tree_map(lambda n, o: gnp.where(condition, n, o), new, old)
