"""The loop itself: epochs of steps, looking at the losses now and then, checkpoints between."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, cast

import numpy as np

from graphad.config import config
from graphad.device import parse
from graphad.errors import NonFiniteError
from graphad.trace.array import Array
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.source import where
from graphad.train._callbacks import Callback, EarlyStopping, Row, Training
from graphad.train._checkpoint import Checkpoint, CheckpointWarning
from graphad.train._data import prefetch, read_scalars, to_device
from graphad.train._identity import Named, checksums_of, parameters_of
from graphad.train._interrupts import Interrupts, TrainingInterrupted
from graphad.train._keeper import Keeper
from graphad.train._nonfinite import explain
from graphad.train._progress import Progress
from graphad.train._result import FitResult, length_text
from graphad.train._source import Evaluation, Source
from graphad.train._step import Step, TrainState

_LOOK: Final = 0.05  # seconds between two looks at the losses: each waits for the device
_COLUMNS: Final = ("epoch", "step", "loss", "seconds")


class Options(NamedTuple):
    """The options of `fit` that concern the loop alone."""

    epochs: int
    resume: bool | str
    progress: bool
    on_nan: str


class StateAndBest(NamedTuple):
    """The best epoch so far, for trainings that restore it."""

    state: TrainState
    best_params: Tree
    best_model_state: Tree


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
        self.callbacks, self.early_stopping = callbacks, early_stopping
        self.each_step = [c for c in callbacks if type(c).on_step is not Callback.on_step]
        self.training = Training(state)
        self.progress = Progress(options.epochs, source.per_epoch, source.batch_size, options.progress)
        self.batch = 0  # batches of this epoch that are done
        self.sums: dict[str, float] = {}  # of the losses, and of what else is averaged over an epoch
        self.seconds = 0.0
        self.pending: list[tuple[Any, dict[str, Any]]] = []  # losses and metrics that are not read yet
        self.losses: list[float] = []
        self.looked_at = 0.0
        self.epoch_done = False  # between the row of an epoch and the next epoch
        self.interrupts = Interrupts()
        self.keeper = Keeper(checkpoint, self._settings(), {} if checkpoint is None else self._identity())
        self.best: Any = self._model() if early_stopping is not None and early_stopping.restore_best else None

    def run(self) -> FitResult:
        """Train to the end."""
        training = self.training
        with self.keeper, self.interrupts:
            self._resume()
            try:
                self._run_epochs()
            except BaseException as error:
                self._break_off(error)
                raise
            finally:
                self.progress.close()
            if self.keeper.saved_at != training.step and int(training.state.halted) < 0:
                self._save()
            for callback in self.callbacks:
                callback.on_end(training)
        assert training.stop_reason is not None, "the epochs end for a reason"
        return self._result(training.stop_reason)

    def _run_epochs(self) -> None:
        training = self.training
        while training.stop_reason is None:
            if self.early_stopping is not None:
                training.stop_reason = self.early_stopping.reason(training.history)
            if training.stop_reason is None and training.epoch > self.options.epochs:
                training.stop_reason = self._all_done()
            if training.stop_reason is None:
                self._run_epoch()

    def _all_done(self) -> str:
        """Why there is no epoch to do: the last has ended, or the checkpoints are of later ones."""
        epochs, training = self.options.epochs, self.training
        if len(training.history) <= epochs and not self.batch:
            return f"all {epochs} epochs are done"
        length = length_text(training.step, training.history)
        message = (
            f"{where()}fit: epochs={epochs}, but the training in {self.keeper.folder} has gone on for {length}: that "
            f"is the result. For one of {epochs} epochs choose another folder."
        )
        warnings.warn(message, CheckpointWarning, stacklevel=2)
        return f"the checkpoints are beyond the {epochs} epochs asked for"

    def _break_off(self, error: BaseException) -> None:
        """Keep what was done until ``error`` came: in a checkpoint, and if it is Ctrl-C in what is raised instead."""
        training = self.training
        if isinstance(error, NonFiniteError):
            return
        try:
            if int(training.state.halted) >= 0:
                return
            self._look()
            if training.step and self.keeper.saved_at != training.step:
                self._save()
        except Exception as second:  # noqa: BLE001 - told below, for the first is the one to mend
            error.add_note(f"fit: the state after step {training.step} could not be kept: {second}")
            return
        kept = ""
        if self.keeper.saved_at == training.step:
            kept = f"the state after step {training.step} is kept in {self.keeper.folder}"
        if isinstance(error, KeyboardInterrupt):
            message = f"fit: {training.step} steps were done, and `result` of this error has what there is"
            result = self._result("it was interrupted")
            raise TrainingInterrupted(f"{message}; {kept}." if kept else f"{message}.", result) from None
        if kept:
            error.add_note(f"fit: {kept}.")

    def _result(self, reason: str) -> FitResult:
        """What there is now."""
        state, history = self.training.state, self.training.history
        best = None if self.best is None else self._best_epoch()
        params, model_state = state.params, state.model_state
        if best is not None:
            params, model_state = to_device(tree_map(Array, self.best))
        losses = np.asarray(self.losses, np.float64)
        return FitResult(params, state.opt_state, history, self.training.step, reason, losses, model_state, best)

    # --- one epoch

    def _run_epoch(self) -> None:
        training, progress = self.training, self.progress
        begun, before = time.perf_counter(), self.seconds
        progress.begin_epoch()
        with closing(self._batches()) as items:
            for batch in items:
                self._take(batch)
                now = time.perf_counter()
                self.seconds = before + now - begun
                if now - self.looked_at > _LOOK:
                    self._look()
                    if training.stop_reason is not None:
                        break
                    progress.update(training.epoch, self.batch, self.losses[-1])
                for callback in self.each_step:
                    callback.on_step(training)
                if self.keeper.due(training.step):
                    self._look()
                    if training.stop_reason is None:
                        self._save()
                if training.stop_reason is not None:
                    break
        self._look()
        if training.stop_reason is None:
            self._end_epoch()

    def _take(self, batch: Tree) -> None:
        """One step."""
        training = self.training
        with self.interrupts.held:
            training.state, result = self._stepped(batch)
            self.batch += 1
            training.step += 1
            loss, aux = result if self.step.loss.has_aux else (result, None)
            training.last_loss = loss
            self.pending.append((loss, _metrics(aux)))
            self.progress.count()

    def _stepped(self, batch: Tree) -> tuple[TrainState, Any]:
        if not (config.looks and self.step.halt):
            return self.step(self.training.state, batch)
        # A step that halts says so, and `explain` knows the names of what it was given; other infinities are its own.
        with config.override(**dict.fromkeys(config.looks, False)):
            return self.step(self.training.state, batch)

    def _batches(self) -> Generator[Tree]:
        """What is left of this epoch; brought to the device ahead of time, but where it is the CPU, which is busy."""
        items = self.source.epoch(self.training.epoch, self.batch)
        if not parse(config.default_device).is_host:
            items = prefetch(items, config.default_device)
        yield from items

    def _end_epoch(self) -> None:
        """Evaluate, write the row, tell the callbacks, keep a checkpoint."""
        training = self.training
        count = self.sums.get("", 0.0)
        if not count:
            raise ValueError(f"{where()}fit: epoch {training.epoch} has no batches; the function data must give some.")
        row: Row = {"epoch": float(training.epoch), "step": float(training.step)}
        row |= {name: total / count for name, total in self.sums.items() if name}
        row |= self.evaluation(training.state)
        row["seconds"] = self.seconds
        with self.interrupts.held:
            training.history.append(row)
            self.batch, self.sums, self.seconds = 0, {}, 0.0
            self.epoch_done = True
            if self.best is not None and self._best_epoch() == training.epoch:
                self.best = self._model()
        self.progress.end_epoch(row)
        for callback in self.callbacks:
            callback.on_epoch(training)
        with self.interrupts.held:
            training.epoch += 1
            self.epoch_done = False
        if self.keeper.after_epochs:
            self._save()

    # --- the losses

    def _look(self) -> None:
        """Read the results that have gathered, and whether the training has halted."""
        with self.interrupts.held:
            halted = self._read()
        if halted >= 0:
            self._stop_at(halted)

    def _read(self) -> int:
        training, results = self.training, self.pending
        self.pending, self.looked_at = [], time.perf_counter()
        halted = int(training.state.halted)
        if halted >= 0:
            results = results[: len(results) - (training.step - halted)]
        if results:
            self.losses += self._added("loss", [loss for loss, _ in results])
            for name in results[0][1]:
                self._added(name, [metrics[name] for _, metrics in results])
            self.sums[""] = self.sums.get("", 0.0) + len(results)
        return halted

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

    # --- the best epoch

    def _best_epoch(self) -> int | None:
        """Its number, as far as the history reaches."""
        assert self.early_stopping is not None, "it says what is best"
        row = self.early_stopping.best(self.training.history)
        return None if row is None else int(self.training.history[row]["epoch"])

    def _model(self) -> Tree:
        """Copies of the parameters and the model's state: the next step donates the arrays themselves."""
        return tree_map(np.array, (self.training.params, self.training.model_state))

    # --- checkpoints

    def _save(self) -> None:
        training = self.training
        record = {
            "epoch": training.epoch + self.epoch_done,
            "batch": self.batch,
            "sums": self.sums,
            "seconds": self.seconds,
            "history": training.history,
        }
        with self.interrupts.held:
            self.keeper.save(training.step, self._kept(), record)

    def _kept(self) -> TrainState | StateAndBest:
        """What a checkpoint holds: the state, and the best parameters if they may be restored."""
        state = self.training.state
        return state if self.best is None else StateAndBest(state, *self.best)

    def _settings(self) -> dict[str, Any]:
        """What decides the parameters, besides the data and the number of epochs."""
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

    def _identity(self) -> dict[str, Named]:
        """Data and optimiser; what a function gives is known to nobody."""
        optimizer = {"optimizer settings": parameters_of(self.step.optimizer)}
        return optimizer if callable(self.source.data) else {"data": checksums_of(self.source.data), **optimizer}

    def _resume(self) -> None:
        """Go on from the newest checkpoint, as `fit` was told to."""
        training, found = self.training, self.keeper.restore(self._kept(), self.options.resume)
        if found is None:
            return
        training.step, kept, record = found
        if isinstance(kept, StateAndBest):
            self.best = tree_map(np.asarray, kept[1:])
            kept = kept.state
        training.state = to_device(kept)
        training.epoch, training.history = record["epoch"], record["history"]
        self.batch, self.sums, self.seconds = record["batch"], record["sums"], record["seconds"]
        self.progress.note(f"going on from step {training.step}, in {self.keeper.folder}")


def _metrics(aux: Any) -> dict[str, Any]:
    """The numbers that a loss passes along, by name: columns of the history."""
    if not isinstance(aux, dict):
        return {}
    found = {name: x for name, x in cast("dict[Any, Any]", aux).items() if isinstance(x, Array) and x.size == 1}
    for name in found:
        if not isinstance(name, str) or name in _COLUMNS:
            raise ValueError(
                f"{where()}fit: the loss passes along a number named {name!r}, which can be no column of the history: "
                f"{', '.join(_COLUMNS)} are there already, and names are texts. Give it another name."
            )
    return found
