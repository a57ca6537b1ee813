"""One step of training as one compiled program: loss, gradient, update, and the state for the next step.

Of a batch that is computed in parts, gradients are accumulated: one program gives those of a part, one adds two of
these, one updates. Their size does not depend on the number of parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.grad import value_and_grad
from graphad.api.jit import jit
from graphad.device import Device
from graphad.lax import dynamic_slice_in_dim
from graphad.optim import GradientTransformation, apply_updates
from graphad.random import fold_in
from graphad.trace.array import Array
from graphad.trace.pytree import Tree, flatten, path_text, tree_map
from graphad.trace.semantics import as_operand
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary
from graphad.train._data import Key, check_integer, count_examples, key_words, to_device
from graphad.train._loss import Loss, LossFunction, Outcome
from graphad.train._scale import LossScale, Precision, all_finite

if TYPE_CHECKING:
    from graphad.backends.loops.explanation import Explanation


class TrainState(NamedTuple):
    """The state of a training between two steps: a pytree of arrays that stays on the device.

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
    model_state
        What the loss updates besides the parameters, such as running averages, else None.
    """

    params: Tree
    opt_state: Any
    step: Any
    key: Any
    loss_scale: LossScale | None
    halted: Any
    model_state: Tree = None


class Sums(NamedTuple):
    """Loss and gradient of a part of a batch, or their sums over several parts.

    Attributes
    ----------
    loss, aux
        Of the loss function.
    grads
        The gradient, times the loss scale.
    """

    loss: Any
    aux: Tree
    grads: Tree


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
        has_state: bool,
        has_aux: bool,
        donate: bool,
        halt: bool,
    ) -> None:
        self.loss = LossFunction(loss, precision, has_state, has_aux)
        check_optimizer(optimizer, "make_step")
        check_integer("accumulate", accumulate, "make_step")
        if accumulate < 1:
            raise ValueError(f"{where()}make_step: accumulate={accumulate}; a batch has at least one part.")
        self.optimizer = optimizer
        self.accumulate = accumulate
        self.precision = precision
        self.halt = halt
        self._loss_scale = LossScale() if precision == "float16" and loss_scale is None else loss_scale
        donated: dict[str, Any] = {"donate_argnums": 0} if donate else {}

        def train_step(state: TrainState, batch: Tree) -> tuple[TrainState, Any]:
            return self._updated(state, batch, *self.gradient(state, batch))

        def update(state: TrainState, batch: Tree, model_state: Tree, sums: Sums) -> tuple[TrainState, Any]:
            return self._updated(state, batch, model_state, sums)

        def train_part(state: TrainState, batch: Tree, part: Any, model_state: Tree) -> tuple[Tree, Sums]:
            return self._of_part(state, batch, part, model_state)

        self._program, self._update = jit(train_step, **donated), jit(update, **donated)
        self._part, self._add = jit(train_part), jit(added)

    @boundary
    def init(self, params: Tree, key: Key | None = None, state: Tree = None) -> TrainState:
        """The state before the first step, on the default device.

        ``params``, and the initial ``state`` of a model that has one, are copied, and so stay the caller's.
        """
        check_params(params)
        self._check_model_state(state)
        params = tree_map(_own, params)
        opt_state = tree_map(_own, self.optimizer.init(params))
        scale = None if self._loss_scale is None else tree_map(_own, self._loss_scale.typed())
        step, halted = (_own(np.asarray(n, np.int32)) for n in (0, -1))
        words, model_state = _own(key_words(key)), tree_map(_own, state)
        return to_device(TrainState(params, opt_state, step, words, scale, halted, model_state))

    @boundary
    def __call__(self, state: TrainState, batch: Tree) -> tuple[TrainState, Any]:
        """The state after one step, and the loss (with ``has_aux`` the loss and aux) before it."""
        if self.accumulate == 1:
            return self._program(state, batch)
        self._check_parts(batch)
        read = state._replace(opt_state=None)
        model_state, total = self._part(read, batch, np.int32(0), state.model_state)
        for part in range(1, self.accumulate):
            model_state, sums = self._part(read, batch, np.int32(part), model_state)
            total = self._add(total, sums)
            del sums  # its memory is that of the next part's: addresses settle, and launches can be captured
        return self._update(state, batch, model_state, total)

    def gradient(self, state: TrainState, batch: Tree) -> tuple[Tree, Sums]:
        """The model's state after the batch, and the sums over its parts, for a trace that is to hold them all."""
        self._check_parts(batch)
        model_state, total = self._of_part(state, batch, 0, state.model_state)
        for part in range(1, self.accumulate):
            model_state, sums = self._of_part(state, batch, part, model_state)
            total = added(total, sums)
        return model_state, total

    @boundary
    def explain(
        self, state: TrainState, batch: Tree, device: str | Device | None = None, architecture: str | None = None
    ) -> dict[str, Explanation]:
        """What each compiled program of the step does; ``device`` and ``architecture`` as for compiled functions.

        Returns
        -------
        dict
            ``step`` alone; if gradients are accumulated ``part``, ``add`` and ``update``.

        Examples
        --------
        >>> import graphad
        >>> step = make_step(lambda w, x: gnp.mean((x - w) ** 2), graphad.optim.sgd(0.5))
        >>> print(step.explain(step.init(0.0), np.ones(4, np.float32))["step"])
        train_step on the CPU: ...
        """
        options: dict[str, Any] = {"device": device, "architecture": architecture}
        if self.accumulate == 1:
            return {"step": self._program.explain(state, batch, **options)}
        read = state._replace(opt_state=None)
        first = (read, batch, np.int32(0), state.model_state)
        self._check_parts(batch)
        model_state, sums = self._part(*first)
        return {
            "part": self._part.explain(*first, **options),
            "add": self._add.explain(sums, sums, **options),
            "update": self._update.explain(state, batch, model_state, sums, **options),
        }

    def _of_part(self, state: TrainState, batch: Tree, part: Any, model_state: Tree) -> tuple[Tree, Sums]:
        """The model's state after part number ``part``, and its loss and gradient."""
        scale, key = state.loss_scale, fold_in(state.key, state.step)
        if self.accumulate > 1:
            size = as_operand(flatten(batch)[0][0]).shape[0] // self.accumulate
            batch = tree_map(lambda x: dynamic_slice_in_dim(x, part * size, size), batch)
            key = fold_in(key, part)

        def scaled(params: Tree) -> tuple[Any, Outcome]:
            outcome = self.loss(params, model_state, batch, key)
            return (outcome.loss if scale is None else outcome.loss * scale.value), outcome

        (_, outcome), grads = value_and_grad(scaled, has_aux=True)(state.params)
        aux = outcome.aux if self.accumulate == 1 else tree_map(_summable, outcome.aux)
        return outcome.state, Sums(outcome.loss, aux, grads)

    def _averages(self, sums: Sums, scale: LossScale | None) -> Sums:
        """The averages over all parts of the batch, without the loss scale."""
        loss, aux, grads = sums if self.accumulate == 1 else tree_map(lambda x: x / self.accumulate, sums)
        return Sums(loss, aux, grads if scale is None else tree_map(lambda g: g / scale.value, grads))

    def _updated(self, state: TrainState, batch: Tree, model_state: Tree, sums: Sums) -> tuple[TrainState, Any]:
        """The state after the step, and its result."""
        params, opt_state, step, key, scale, halted, old_model_state = state
        loss, aux, grads = self._averages(sums, scale)
        step_key = fold_in(key, step)
        updates, new_opt_state = self.optimizer.update(
            grads,
            opt_state,
            params,
            value=loss,
            grad=grads,
            value_fn=lambda p: self.loss(p, old_model_state, batch, step_key).loss,
        )
        new = (apply_updates(params, updates), new_opt_state, model_state)
        result = (loss, aux) if self.loss.has_aux else loss
        if scale is None and not self.halt:
            return TrainState(new[0], new[1], step + 1, key, None, halted, new[2]), result
        finite = all_finite((loss, grads))
        running = halted < 0
        if self.halt:
            failed = gnp.logical_not(finite)
            if scale is not None:  # the scale has no part in the loss itself
                hopeless = gnp.logical_or(scale.exhausted, gnp.logical_not(gnp.isfinite(loss)))
                failed = gnp.logical_and(failed, hopeless)
            halted = gnp.where(gnp.logical_and(running, failed), step, halted)
        taken = gnp.logical_and(finite, running)
        params, opt_state, model_state = _selected(taken, new, (params, opt_state, old_model_state))
        if scale is not None:
            scale = _selected(running, scale.adjusted(finite), scale)
        step = gnp.where(halted < 0, step + 1, step)
        return TrainState(params, opt_state, step, key, scale, halted, model_state), result

    def _check_parts(self, batch: Tree) -> None:
        """Refuse a batch that cannot be cut into parts of one size."""
        if self.accumulate > 1 and (n := count_examples(batch, "accumulate")) % self.accumulate:
            count = self.accumulate
            raise ValueError(
                f"{where()}accumulate={count} does not divide the batch of {n} examples. "
                f"Choose a batch size of {n - n % count or count} or another multiple of {count}."
            )

    def _check_model_state(self, state: Tree) -> None:
        if self.loss.has_state and state is None:
            raise TypeError(
                f"{where()}{self.loss.name} takes a state besides the parameters: pass the initial one, "
                "step.init(params, key, state) or fit(..., state=initial)."
            )
        if not self.loss.has_state and state is not None:
            raise TypeError(
                f"{where()}there is an initial state, but {self.loss.name} takes none. Write it as a "
                "loss(params, state, *batch) that returns (loss, state), and make_step(..., has_state=True)."
            )

    def __repr__(self) -> str:
        extras = [f"accumulate={self.accumulate}"] * (self.accumulate > 1)
        extras += [f"precision={self.precision!r}"] * (self.precision is not None)
        return f"<training step of {', '.join([self.loss.name, *extras])}>"


@boundary
def make_step(
    loss: Loss,
    optimizer: GradientTransformation,
    *,
    accumulate: int = 1,
    precision: Precision | None = None,
    loss_scale: LossScale | None = None,
    has_state: bool = False,
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
        Compute each batch in so many parts and average: the memory of one part is enough, and so are its programs,
        whatever their number. It must divide the batch.
    precision
        ``"float16"`` or ``"bfloat16"``: loss and gradient are computed in 16 bits, on parameters that are kept and
        updated in their own dtype. Sums that the loss is made of, and numbers that it passes along, are float32.
    loss_scale
        The factor to start from; for float16 it is ``LossScale()`` by default.
    has_state
        The model has a state that is not trained, such as running averages: ``loss(params, state, *batch)`` returns
        ``(loss, state)``. It goes from step to step, and from part to part of a batch; steps that are skipped leave it
        as it was.
    has_aux
        The loss returns ``(loss, aux)``, or ``(loss, state, aux)``; aux is passed along, averaged over the parts.
    donate
        The state that goes in is used up.
    halt
        When the loss or the gradient is not finite, leave the parameters as they were and do nothing more: the number
        of the step is ``state.halted``.

    Returns
    -------
    Step
        ``step.init(params, key)``, for a model with a state ``step.init(params, key, state)``, gives what the training
        is at the start; ``step(state, batch)`` what it is after one step more, and the loss.

    Examples
    --------
    >>> import graphad
    >>> step = make_step(lambda params, x, y: gnp.mean((params["w"] * x - y) ** 2), graphad.optim.sgd(0.25))
    >>> state = step.init({"w": 0.0})
    >>> for _ in range(20):
    ...     state, loss = step(state, (np.float32([1, -1]), np.float32([3, -3])))
    >>> print(f"{state.params['w']:.4f} after {state.step} steps")
    3.0000 after 20 steps

    A state that counts the examples seen:

    >>> def loss(w, seen, x):
    ...     return gnp.mean((w - x) ** 2), seen + len(x)
    >>> step = make_step(loss, graphad.optim.sgd(0.25), has_state=True)
    >>> state, _ = step(step.init(0.0, state=0), np.ones(8, np.float32))
    >>> print(state.model_state)
    8
    """
    return Step(
        loss,
        optimizer,
        accumulate=accumulate,
        precision=precision,
        loss_scale=loss_scale,
        has_state=has_state,
        has_aux=has_aux,
        donate=donate,
        halt=halt,
    )


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


def check_optimizer(optimizer: Any, name: str) -> None:
    """Refuse what is no optimiser; `name` is the function's, for the error."""
    if isinstance(optimizer, type) or not all(callable(getattr(optimizer, part, None)) for part in ("init", "update")):
        raise TypeError(
            f"{where()}{name} takes an optimizer, with init and update, not {optimizer!r}: write "
            "graphad.optim.adam(1e-3), say."
        )


def added(a: Sums, b: Sums) -> Sums:
    """Element by element."""
    return tree_map(gnp.add, a, b)


def _summable(x: Any) -> Any:
    """``x`` in a dtype of which a few can be added: of a truth value that is a number, of 16 bits that is 32."""
    x = as_operand(x)
    if x.aval.is_float:
        return gnp.astype(x, np.float32) if x.aval.dtype.bits < 32 else x
    return x if x.aval.dtype.bits >= 32 else gnp.astype(x, np.int32)


def _selected(condition: Any, new: Tree, old: Tree) -> Any:
    return tree_map(lambda n, o: gnp.where(condition, n, o), new, old)
