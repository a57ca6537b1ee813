"""The loop itself: epochs of steps, looking at the losses now and then, checkpoints between."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.config import config
from graphad.trace.pytree import Tree
from graphad.trace.source import where
from graphad.train._callbacks import Callback, EarlyStopping, Row, Training
from graphad.train._checkpoint import Checkpoint
from graphad.train._data import prefetch, read_scalars, to_device
from graphad.train._nonfinite import NonFiniteError, explain
from graphad.train._progress import Progress
from graphad.train._result import FitResult
from graphad.train._source import Evaluation, Source
from graphad.train._step import Step, TrainState

_LOOK: Final = 0.05  # seconds between two looks at the losses: each waits for the device
_METADATA: Final = "graphad.train"


class Options(NamedTuple):
    """The options of `fit` that concern the loop alone."""

    epochs: int
    resume: bool | str
    progress: bool
    on_nan: str


class Loop:
    """One training; `fit` makes it and calls `run`."""

    def __init__(
        self,
        step: Step,
        state: TrainState,
        source: Source,
        evaluation: Evaluation,
        callbacks: Sequence[Callback],
        checkpoint: Checkpoint | None,
        early_stopping: EarlyStopping | None,
        options: Options,
    ) -> None:
        self.step, self.source, self.evaluation, self.options = step, source, evaluation, options
        self.checkpoint, self.early_stopping = checkpoint, early_stopping
        self.callbacks = callbacks
        self.each_step = [c for c in callbacks if type(c).on_step is not Callback.on_step]
        self.training = Training(state)
        self.progress = Progress(options.epochs, source.per_epoch, source.batch_size, options.progress)
        self.batch = 0  # batches of this epoch that are done
        self.sums: dict[str, float] = {}  # of the losses, and of what else is averaged over an epoch
        self.seconds = 0.0
        self.pending: list[tuple[Any, dict[str, Any]]] = []  # results of steps that nobody has looked at
        self.losses: list[float] = []
        self.looked_at = 0.0
        self.saved_at = -1

    def run(self) -> FitResult:
        """Train to the end."""
        training = self.training
        self._resume()
        try:
            while training.stop_reason is None:
                if self.early_stopping is not None:
                    training.stop_reason = self.early_stopping.reason(training.history)
                if training.stop_reason is None and training.epoch > self.options.epochs:
                    training.stop_reason = f"all {self.options.epochs} epochs are done"
                if training.stop_reason is None:
                    self._run_epoch()
        finally:
            self.progress.close()
        if self.saved_at != training.step and int(training.state.halted) < 0:
            self._save()
        for callback in self.callbacks:
            callback.on_end(training)
        state, reason = training.state, training.stop_reason
        losses = np.asarray(self.losses, np.float64)
        return FitResult(state.params, state.opt_state, training.history, training.step, reason, losses)

    # --- one epoch

    def _run_epoch(self) -> None:
        training, progress = self.training, self.progress
        begun, before = time.perf_counter(), self.seconds
        progress.begin_epoch()
        for batch in self._batches():
            training.state, result = self.step(training.state, batch)
            self.batch += 1
            training.step += 1
            loss, aux = result if self.step.has_aux else (result, None)
            training.last_loss = loss
            self.pending.append((loss, aux if isinstance(aux, dict) else {}))
            progress.count()
            now = time.perf_counter()
            if now - self.looked_at > _LOOK:
                self._look()
                if training.stop_reason is not None:
                    break
                progress.update(training.epoch, self.batch, self.losses[-1])
            for callback in self.each_step:
                callback.on_step(training)
            self.seconds = before + now - begun
            if self._due():
                self._look()
                if training.stop_reason is None:
                    self._save()
            if training.stop_reason is not None:
                break
        self._look()
        if training.stop_reason is None:
            self._end_epoch()

    def _batches(self) -> Iterator[Tree]:
        """What is left of this epoch; brought to the device ahead of time, but where it is the CPU, which is busy."""
        items = self.source.epoch(self.training.epoch, self.batch)
        return items if config.default_device == "cpu" else prefetch(items, config.default_device)

    def _end_epoch(self) -> None:
        """Evaluate, write the row, tell the callbacks, keep a checkpoint."""
        training = self.training
        count = self.sums.pop("", 0.0)
        if not count:
            raise ValueError(f"{where()}fit: epoch {training.epoch} has no batches; the function data must give some.")
        row: Row = {"epoch": float(training.epoch), "step": float(training.step)}
        row |= {name: total / count for name, total in self.sums.items()}
        row |= self.evaluation(training.params)
        row["seconds"] = self.seconds
        training.history.append(row)
        self.progress.end_epoch(row)
        self.batch, self.sums, self.seconds = 0, {}, 0.0
        for callback in self.callbacks:
            callback.on_epoch(training)
        training.epoch += 1
        if self.checkpoint is not None and self.checkpoint.every is None:
            self._save()

    # --- the losses

    def _look(self) -> None:
        """Read the results that have gathered, and whether the training has halted."""
        training, results = self.training, self.pending
        self.pending, self.looked_at = [], time.perf_counter()
        halted = int(training.state.halted)
        if halted >= 0:
            results = results[: len(results) - (training.step - halted)]
        if results:
            self.losses += self._added("loss", [loss for loss, _ in results])
            for name, first in results[0][1].items():
                if np.size(first) == 1:
                    self._added(name, [aux[name] for _, aux in results])
            self.sums[""] = self.sums.get("", 0.0) + len(results)
        if halted >= 0:
            self._stop_at(halted)

    def _added(self, name: str, arrays: list[Any]) -> list[float]:
        """The numbers in ``arrays``, added to the sum of this name one after the other."""
        numbers = read_scalars(arrays)
        for x in numbers:
            self.sums[name] = self.sums.get(name, 0.0) + x
        return numbers

    def _stop_at(self, step: int) -> None:
        """Step number ``step`` was not finite: say why."""
        training = self.training
        self.batch -= training.step - step
        training.step = step
        batch = next(self.source.epoch(training.epoch, self.batch))
        message = explain(self.step, training.state, batch)
        if self.options.on_nan == "raise":
            raise NonFiniteError(message, step, training.params, batch)
        training.stop_reason = message

    # --- checkpoints

    def _due(self) -> bool:
        checkpoint = self.checkpoint
        return checkpoint is not None and checkpoint.every is not None and self.training.step % checkpoint.every == 0

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        training = self.training
        record = {
            "settings": self._settings(),
            "epoch": training.epoch,
            "batch": self.batch,
            "sums": self.sums,
            "seconds": self.seconds,
            "history": training.history,
        }
        self.checkpoint.save(training.step, training.state, {_METADATA: json.dumps(record)})
        self.saved_at = training.step

    def _settings(self) -> dict[str, Any]:
        """What decides the parameters, beside the data and the number of epochs."""
        source, step = self.source, self.step
        return {
            "key": np.asarray(self.training.state.key).tolist(),
            "shuffle": source.key is not None,
            "examples": source.examples,
            "batch_size": source.batch_size,
            "drop_last": source.drop_last,
            "accumulate": step.accumulate,
            "precision": step.precision,
        }

    def _resume(self) -> None:
        """Go on from the newest checkpoint, as `fit` was told to."""
        checkpoint, training, resume = self.checkpoint, self.training, self.options.resume
        found = None if checkpoint is None or resume is False else checkpoint.restore(training.state)
        folder = None if checkpoint is None else os.fspath(checkpoint.path)
        if resume is False and checkpoint is not None and checkpoint.steps():
            raise ValueError(
                f"{where()}fit: resume=False, but {folder} holds checkpoints of another training. Choose an empty "
                "folder, or delete them."
            )
        if found is None:
            if resume is True:
                raise ValueError(f"{where()}fit: resume=True, but there is no checkpoint in {folder}.")
            return
        step, state, metadata = found
        if _METADATA not in metadata:
            raise ValueError(f"{where()}fit: {folder} holds checkpoints that fit did not write. Choose another folder.")
        record = json.loads(metadata[_METADATA])
        for name, now in self._settings().items():
            if record["settings"][name] != now:
                raise ValueError(
                    f"{where()}fit: the checkpoints in {folder} are of a training with {name}="
                    f"{record['settings'][name]!r}, and this one has {now!r}. Use the same, or another folder."
                )
        training.state, training.step, self.saved_at = to_device(state), step, step
        training.epoch, training.history = record["epoch"], record["history"]
        self.batch, self.sums, self.seconds = record["batch"], record["sums"], record["seconds"]
        self.progress.note(f"going on from step {step}, in {folder}")
