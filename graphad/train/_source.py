"""Where `fit` takes its batches from, and how it evaluates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from graphad.api.functions import name_of
from graphad.api.jit import jit
from graphad.trace.pytree import Tree, flatten
from graphad.trace.source import where
from graphad.train._data import batches, check_batch_size, count_examples, to_device
from graphad.train._step import Step, as_arguments

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
        examples = count_examples(data, "fit")
        size = check_batch_size(batch_size, examples, "fit")
        per_epoch = examples // size if drop_last else -(-examples // size)
        return cls(data, size, key, drop_last, examples, per_epoch)

    def epoch(self, number: int, start: int = 0) -> Iterator[Tree]:
        """The batches of epoch ``number``, counted from 1, after the first ``start``."""
        if self.examples is None:
            return islice(self.data(number), start, None)
        return batches(self.data, self.batch_size, self.key, number, self.drop_last, start=start)


class Evaluation:
    """The metrics of parameters on data that are not trained on.

    Parameters
    ----------
    evaluate
        ``evaluate(params, *batch)`` gives a number or a dict of numbers, averages over the batch; without ``data``
        ``evaluate(params)``, which is not compiled. None for the loss of ``step``.
    data
        Arrays, or None.
    batch_size
        Examples of a batch; the last may be smaller.
    """

    def __init__(self, step: Step, evaluate: Evaluate | None, data: Tree, batch_size: int | None) -> None:
        self.data = data
        self.enabled = evaluate is not None or data is not None
        self.name = "loss" if evaluate is None else name_of(evaluate)
        if data is not None:
            n = count_examples(data, "fit: eval_data")
            self.batch_size = n if batch_size is None else min(batch_size, n)
            if evaluate is None and step.takes_key:
                raise ValueError(
                    f"{where()}fit: {step.name} takes a key, so it is random: say how to evaluate without. "
                    "Pass evaluate=, a function evaluate(params, *batch)."
                )
        self._measure = self._measured(step, evaluate)

    def _measured(self, step: Step, evaluate: Evaluate | None) -> Callable[..., Any]:
        if evaluate is None:
            return jit(lambda params, batch: step.compute_loss(params, batch, None)[0])
        if self.data is None:
            return evaluate
        return jit(lambda params, batch: evaluate(params, *as_arguments(batch)))

    def __call__(self, params: Tree) -> dict[str, float]:
        """The averages over all examples, named ``eval_`` and the metric."""
        if not self.enabled:
            return {}
        if self.data is None:
            return self._named(self._measure(params))
        sums: dict[str, float] = {}
        total = 0
        for batch in batches(self.data, self.batch_size):
            weight = len(flatten(batch)[0][0])
            total += weight
            for name, value in self._named(self._measure(params, to_device(batch))).items():
                sums[name] = sums.get(name, 0.0) + weight * value
        return {name: value / total for name, value in sums.items()}

    def _named(self, result: Any) -> dict[str, float]:
        if not isinstance(result, Mapping):
            result = {self.name: result}
        numbers: dict[str, float] = {}
        for name, value in result.items():
            if np.size(value) != 1:
                raise TypeError(
                    f"{where()}fit: a metric is one number, but evaluate gives {name!r} of shape {np.shape(value)}. "
                    "Average it over the batch."
                )
            numbers[f"eval_{name}"] = float(np.asarray(value).reshape(()))
        return numbers
