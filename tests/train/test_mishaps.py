"""What happens to the work that was done: Ctrl-C, errors in callbacks and data, full disks, two trainings at once."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import threading
import time
import traceback
from contextlib import suppress
from functools import cache

import numpy as np
import pytest

from graphad import optim
from graphad.train import (
    Callback,
    Checkpoint,
    CheckpointWarning,
    EarlyStopping,
    NonFiniteError,
    TrainingInterrupted,
    batches,
    fit,
    prefetch,
)
from graphad.train._interrupts import Interrupts
from tests.train.problems import bits, line_data, line_loss, line_params, train_with_dropout


def train(**options):
    options = {"batch_size": 16, "epochs": 3, "progress": False, **options}
    return fit(line_loss, line_params(), line_data(), optim.adam(1e-2), **options)  # 4 steps an epoch


class Raise(Callback):
    """Raise an error after a step, or after an epoch."""

    def __init__(self, error, step=None, epoch=None):
        self.error, self.at_step, self.at_epoch = error, step, epoch

    def on_step(self, training):
        if training.step == self.at_step:
            raise self.error

    def on_epoch(self, training):
        if training.epoch == self.at_epoch:
            raise self.error


# --- Ctrl-C


def test_what_is_interrupted_can_be_had():
    with pytest.raises(
        TrainingInterrupted, match=r"fit: 6 steps were done, and `result` of this error has what"
    ) as info:
        train(callbacks=[Raise(KeyboardInterrupt, step=6)])
    result = info.value.result
    assert isinstance(info.value, KeyboardInterrupt)
    assert (result.steps, len(result.losses), len(result.history)) == (6, 6, 1)
    assert result.stopped_because == "it was interrupted"

    class Stop(Callback):
        def on_step(self, training):
            if training.step == 6:
                training.stop("enough")

    stopped = train(callbacks=[Stop()])
    assert bits((result.params, result.opt_state)) == bits((stopped.params, stopped.opt_state))


@pytest.mark.parametrize("where", [{"step": 6}, {"epoch": 1}, {"epoch": 3}])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("mine"), SystemExit(3)], ids=str)
def test_nothing_is_lost_and_nothing_done_twice(error, where, tmp_path):
    whole = train()
    checkpoint = Checkpoint(tmp_path, every=100)
    with pytest.raises(error if isinstance(error, type) else type(error)) as info:
        train(checkpoint=checkpoint, callbacks=[Raise(error, **where)])
    done = where.get("step", 4 * where.get("epoch", 0))
    assert checkpoint.steps() == [done]
    told = "".join(traceback.format_exception(info.value))
    assert f"the state after step {done} is kept in {tmp_path}" in told
    again = train(checkpoint=checkpoint)
    assert len(again.losses) == 12 - done
    assert bits((again.params, again.opt_state)) == bits((whole.params, whole.opt_state))
    assert [{**row, "seconds": 0} for row in again.history] == [{**row, "seconds": 0} for row in whole.history]


def test_an_error_in_the_data_or_the_evaluation(tmp_path):
    whole = train(key=0)

    def data(epoch):
        for k, batch in enumerate(batches(line_data(), 16, 0, epoch)):
            if data_broken and (epoch, k) == (2, 3):
                raise OSError("the network is down")
            yield batch

    def evaluate(params):
        if evaluation_broken:
            raise ZeroDivisionError
        return {"one": 1.0}

    def run():
        checkpoint = Checkpoint(tmp_path, every=50)
        optimizer = optim.adam(1e-2)
        return fit(
            line_loss,
            line_params(),
            data,
            optimizer,
            epochs=3,
            evaluate=evaluate,
            progress=False,
            checkpoint=checkpoint,
        )

    data_broken = evaluation_broken = True
    for _ in range(2):  # the epoch is at its end, and is not begun again
        with pytest.raises(ZeroDivisionError):
            run()
        assert Checkpoint(tmp_path).steps() == [4]
    evaluation_broken = False
    with pytest.raises(OSError, match="the network is down"):
        run()
    assert Checkpoint(tmp_path).steps() == [4, 7]
    data_broken = False
    again = run()
    assert [row["eval_one"] for row in again.history] == [1.0] * 3
    assert len(again.losses) == 5
    assert bits(again.params) == bits(whole.params)


def test_a_training_that_fails_by_itself_is_not_kept_at_that_step(tmp_path):
    def loss(params, x, y):
        return line_loss(params, x, y) / (x[0] + 1)  # the first example has x = -1

    with pytest.raises(NonFiniteError) as info:
        fit(
            loss,
            line_params(),
            line_data(),
            optim.adam(1e-2),
            checkpoint=tmp_path,
            batch_size=4,
            progress=False,
            shuffle=False,
        )
    assert os.listdir(tmp_path) == []
    assert not hasattr(info.value, "__notes__")


def test_before_the_first_step_there_is_nothing_to_keep(tmp_path):
    """What is to be mended may need other parameters."""

    def loss(params, x, y):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as info:
        fit(loss, line_params(), line_data(), optim.adam(1e-2), checkpoint=tmp_path, progress=False)
    assert os.listdir(tmp_path) == []
    assert not hasattr(info.value, "__notes__")
    with pytest.raises(ValueError, match="mine") as info:
        train(callbacks=[Raise(ValueError("mine"), step=2)])
    assert not hasattr(info.value, "__notes__"), "there is no folder to speak of"


def test_a_second_error_does_not_hide_the_first(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no way to save")

    monkeypatch.setattr(Checkpoint, "save", broken)
    with pytest.raises(ValueError, match="mine") as info:
        train(checkpoint=tmp_path, callbacks=[Raise(ValueError("mine"), step=2)])
    assert info.value.__notes__ == ["fit: the state after step 2 could not be kept: no way to save"]


def pressed(times, error=None):
    """Ctrl-C while something is held; what was done of it."""
    interrupts, done = Interrupts(), []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with interrupts:
            with interrupts.held:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
                if error is not None:
                    raise error
                done.append("whole")
            done.append("what follows")
    except BaseException as caught:  # noqa: BLE001 - returned
        done.append(type(caught))
    after = signal.signal(signal.SIGINT, before)
    assert after is signal.default_int_handler
    return done


def test_ctrl_c_waits_for_what_is_held():
    assert pressed(0) == ["whole", "what follows"]
    assert pressed(1) == ["whole", KeyboardInterrupt]
    assert pressed(2) == [KeyboardInterrupt]
    assert pressed(1, ValueError()) == [ValueError]


def test_handlers_of_others_stay():
    def mine(*_):
        pass

    before = signal.signal(signal.SIGINT, mine)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)
    found = []
    thread = threading.Thread(target=lambda: found.append(train().steps))  # where handlers cannot be set
    thread.start()
    thread.join()
    assert found == [12]


def test_ctrl_c_at_any_moment(tmp_path):
    whole, rng = train_with_dropout(None, epochs=40), np.random.default_rng(0)
    for k in range(8):
        timer = threading.Timer(rng.uniform(0.01, 0.15), _thread.interrupt_main)
        timer.start()
        with suppress(KeyboardInterrupt):
            train_with_dropout(tmp_path / str(k), every=1000, epochs=40)
            timer.join()
            time.sleep(0.01)
        again = train_with_dropout(tmp_path / str(k), every=1000, epochs=40)
        assert bits((again.params, again.opt_state)) == bits((whole.params, whole.opt_state))


def test_no_thread_is_left_behind_by_an_error():
    with pytest.raises(ValueError, match="mine"):
        train(device="cuda:emulated", callbacks=[Raise(ValueError("mine"), step=2)])
    assert not [t for t in threading.enumerate() if t.name == "graphad-prefetch"]


def test_a_source_that_hangs_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("graphad.train._data._PATIENCE", 0.05)
    hanging = threading.Event()

    def source():
        yield np.ones(1)
        hanging.wait(20)

    items = prefetch(source())
    next(items)
    begun = time.perf_counter()
    items.close()
    assert time.perf_counter() - begun < 5
    hanging.set()


# --- folders


def test_a_full_disk_does_not_end_a_training(tmp_path, monkeypatch):
    whole, plain, full = train(), os.fsync, []

    def fsync(descriptor):
        if 3 <= len(full) < 6:
            full.append(1)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        full.append(0)
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.warns(
        CheckpointWarning, match="step 2 could not be written into .*: No space left on device.*tries"
    ) as w:
        result = train(checkpoint=Checkpoint(tmp_path, every=1))
    assert len(w) == 1, "one warning for as long as it is full"
    assert bits(result.params) == bits(whole.params)
    assert Checkpoint(tmp_path).steps() == [11, 12]
    assert len(os.listdir(tmp_path)) == 2


def test_a_disk_that_stays_full(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(CheckpointWarning, match="the newest is yet to be written"):
        result = train(checkpoint=tmp_path)
    assert result.steps == 12
    assert os.listdir(tmp_path) == []
    with pytest.warns(CheckpointWarning), pytest.raises(ValueError, match="mine") as info:
        train(checkpoint=tmp_path, callbacks=[Raise(ValueError("mine"), step=2)])
    assert not hasattr(info.value, "__notes__"), "it was not kept"


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match=r"test_mishaps\.py:\d+: checkpoints cannot be written into .*file"):
        train(checkpoint=tmp_path / "file")

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(PermissionError, match=r"checkpoints cannot be written into .*: Permission denied\. Choose"):
        train(checkpoint=tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_one_training_at_a_time_for_a_folder(tmp_path):
    class Another(Callback):
        def on_step(self, training):
            if training.step == 5:
                with pytest.raises(RuntimeError, match=r"test_mishaps\.py:\d+: fit: another training is writing its"):
                    train(checkpoint=tmp_path)
                train(checkpoint=tmp_path / "other")

    train(checkpoint=tmp_path, callbacks=[Another()])
    assert Checkpoint(tmp_path).steps() == [8, 12]
    train(checkpoint=tmp_path)


def test_file_systems_without_locks_are_trusted(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", unsupported)
    assert train(checkpoint=tmp_path).steps == 12


# --- the best epoch


LOSSES = [5.0, 4.0, 4.5, 3.9, 4.4, 4.3, 4.2]


def best(folder=None, epochs=7, min_delta=0.0, callbacks=(), restore=True, patience=9):
    """A training whose second or fourth epoch is the best."""
    return train(
        epochs=epochs,
        callbacks=callbacks,
        checkpoint=folder,
        early_stopping=EarlyStopping(patience, "eval_loss", min_delta=min_delta, restore_best=restore),
        evaluate=scripted,
    )


@cache
def reached(epochs):
    """The parameters after so many epochs."""
    return bits(train(epochs=epochs).params)


def scripted(params):
    """Metrics that are known beforehand, by the epoch that the parameters tell."""
    return {"loss": next(LOSSES[k] for k in range(7) if reached(k + 1) == bits(params))}


@pytest.mark.parametrize(("min_delta", "epoch"), [(0.0, 4), (0.2, 2)])
def test_the_best_parameters_come_back(min_delta, epoch):
    result = best(min_delta=min_delta)
    assert result.best_epoch == epoch
    assert bits(result.params) == reached(epoch)
    assert bits(result.opt_state) == bits(train(epochs=7).opt_state)
    assert f"; parameters of epoch {epoch}; stopped because all 7 epochs" in repr(result)
    plain = best(restore=False)
    assert plain.best_epoch is None
    assert bits(plain.params) == reached(7)


def test_the_best_parameters_survive_an_interruption(tmp_path):
    for at in (5, 8, 18, 21):
        with pytest.raises(TrainingInterrupted) as info:
            best(Checkpoint(tmp_path, every=3), callbacks=[Raise(KeyboardInterrupt, step=at)])
        assert info.value.result.best_epoch == (1 if at <= 8 else 4)
    result = best(tmp_path)
    assert bits(result.params) == reached(4)
    assert bits(best(tmp_path).params) == bits(result.params), "nothing was left to do"
    with pytest.raises(ValueError, match=r"lacks .*restore_best must be as"):
        best(tmp_path, restore=False)


def test_without_a_number_there_is_no_best():
    result = train(
        epochs=2, evaluate=lambda params: {"loss": np.nan}, early_stopping=EarlyStopping(5, restore_best=True)
    )
    assert result.best_epoch is None
    assert bits(result.params) == bits(train(epochs=2).params)
    stopped = train(epochs=9, evaluate=lambda params: {"loss": np.nan}, early_stopping=EarlyStopping(2))
    assert stopped.stopped_because == "eval_loss did not improve for 2 epochs; it never was a number"
