"""Where `fit` takes its batches from, and how it evaluates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np

from graphad.api.functions import name_of
from graphad.api.jit import jit
from graphad.trace.array import Array
from graphad.trace.pytree import Tree, flatten
from graphad.trace.source import where
from graphad.train._data import batches, check_batch_size, count_examples, to_device
from graphad.train._loss import as_arguments, check_call
from graphad.train._step import Step, TrainState

Evaluate = Callable[..., Any]


@dataclass(frozen=True)
class Source:
    """The batches of each epoch, from any one on.

    Attributes
    ----------
    data
        Arrays, or a function from the number of the epoch to its batches.
    batch_size, key
        As for `batches`; the key is None where the order is that of the data.
    examples, per_epoch
        Examples in all and batches of an epoch; None where a function knows.
    """

    data: Any
    batch_size: int | None
    key: Any
    drop_last: bool
    examples: int | None
    per_epoch: int | None

    @classmethod
    def of(cls, data: Any, batch_size: int | None, key: Any, drop_last: bool) -> Source:
        """The source with these options, checked."""
        if callable(data):
            if batch_size is not None:
                raise ValueError(
                    f"{where()}fit: data is a function, which makes the batches: batch_size={batch_size} would have "
                    "no effect. Leave it out."
                )
            return cls(data, None, None, False, None, None)
        if isinstance(data, Iterable) and not isinstance(data, (tuple, list, Mapping)) and not hasattr(data, "shape"):
            again = "load_batches()" if isinstance(data, Iterator) else "data"
            raise TypeError(
                f"{where()}fit: data is a {type(data).__name__}, which gives batches, but only once or in an order of "
                f"its own. Pass a function from the number of the epoch to its batches: lambda epoch: {again}."
            )
        examples = count_examples(data, "fit")
        size = check_batch_size(batch_size, examples, "fit")
        per_epoch = examples // size if drop_last else -(-examples // size)
        return cls(data, size, key, drop_last, examples, per_epoch)

    def epoch(self, number: int, start: int = 0) -> Iterator[Tree]:
        """The batches of epoch ``number``, counted from 1, after the first ``start``."""
        if self.examples is None:
            found = self.data(number)
            if not isinstance(found, Iterable):
                raise TypeError(
                    f"{where()}fit: {name_of(self.data)}({number}) must give the batches of epoch {number}, one after "
                    f"the other, but returns a {type(found).__name__}."
                )
            return islice(cast("Iterable[Tree]", found), start, None)
        return batches(self.data, self.batch_size, self.key, number, self.drop_last, start=start)


class Evaluation:
    """The metrics of parameters on data that are not trained on.

    Parameters
    ----------
    evaluate
        ``evaluate(params, *batch)`` gives a number or a dict of numbers, averages over the batch; without ``data``
        ``evaluate(params)``, which is not compiled. None for the loss of ``step``. The state of a model that has one
        comes after the parameters.
    data
        Arrays, or None.
    batch_size
        Examples of a batch; the last may be smaller.
    """

    def __init__(self, step: Step, evaluate: Evaluate | None, data: Tree, batch_size: int | None) -> None:
        self.data = data
        self.enabled = evaluate is not None or data is not None
        self.name = "loss" if evaluate is None else name_of(evaluate)
        if callable(data):
            raise TypeError(
                f"{where()}fit: eval_data is a function; it takes arrays. To evaluate on something else, leave it out "
                "and pass evaluate=, a function evaluate(params)."
            )
        if data is not None:
            n = count_examples(data, "fit: eval_data")
            self.batch_size = n if batch_size is None else min(batch_size, n)
            if evaluate is None and (step.loss.takes_key or step.loss.has_state):
                what, arguments = (
                    ("a key, so it is random", "params")
                    if step.loss.takes_key
                    else ("a state, so it may do in training what it does not in use", "params, state")
                )
                raise ValueError(
                    f"{where()}fit: {step.loss.name} takes {what}: say how to evaluate without. "
                    f"Pass evaluate=, a function evaluate({arguments}, *batch)."
                )
        self._has_state = step.loss.has_state
        self._measure = self._measured(step, evaluate)

    def _measured(self, step: Step, evaluate: Evaluate | None) -> Callable[..., Any]:
        """A function of a tuple, the parameters and the state if there is one, and of the batch if there are data."""
        if evaluate is None:
            return jit(lambda model, batch: step.loss(model[0], None, batch, None).loss)
        if self.data is None:
            check_call(evaluate, 2 if step.loss.has_state else 1, ())
            return lambda model: evaluate(*model)

        def measure(model: tuple[Tree, ...], batch: Tree) -> Any:
            check_call(evaluate, len(model), batch)
            return evaluate(*model, *as_arguments(batch))

        return jit(measure)

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The averages over all examples, named ``eval_`` and the metric."""
        if not self.enabled:
            return {}
        model = (state.params, state.model_state) if self._has_state else (state.params,)
        if self.data is None:
            return self._named(self._measure(model))
        sums: dict[str, float] = {}
        total = 0
        for batch in batches(self.data, self.batch_size):
            weight = len(flatten(batch)[0][0])
            total += weight
            for name, value in self._named(self._measure(model, to_device(batch))).items():
                sums[name] = sums.get(name, 0.0) + weight * value
        return {name: value / total for name, value in sums.items()}

    def _named(self, result: Any) -> dict[str, float]:
        if not isinstance(result, Mapping):
            result = {self.name: result}
        numbers: dict[str, float] = {}
        for name, value in result.items():
            if not isinstance(value, (int, float, np.generic, np.ndarray, Array)):
                raise TypeError(
                    f"{where()}fit: a metric is a number, but {self.name} gives a {type(value).__name__} as {name!r}. "
                    "Return one number, or a dict of numbers."
                )
            if np.size(value) != 1:
                raise TypeError(
                    f"{where()}fit: a metric is one number, but evaluate gives {name!r} of shape {np.shape(value)}. "
                    "Average it over the batch."
                )
            numbers[f"eval_{name}"] = float(np.asarray(value).reshape(()))
        return numbers
