"""The checkpoints that `fit` writes and goes on from, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any, Final

from graphad.trace.pytree import Tree
from graphad.trace.source import where
from graphad.train._checkpoint import Checkpoint, CheckpointWarning
from graphad.train._files import CheckpointError
from graphad.train._identity import Named, difference
from graphad.train._lock import FolderLock

_METADATA: Final = "graphad.train"


class Keeper:
    """The rules of one training for its folder.

    Parameters
    ----------
    checkpoint
        The folder; None if nothing is kept.
    settings
        What decides the parameters, besides data, optimiser and the number of epochs: another training has others.
    identity
        Data and optimiser, as `_identity` tells them: a training that goes on with others is told so.

    Attributes
    ----------
    saved_at
        The step of the newest checkpoint; -1 if there is none.
    """

    def __init__(self, checkpoint: Checkpoint | None, settings: dict[str, Any], identity: dict[str, Named]) -> None:
        self.checkpoint, self.settings, self.identity = checkpoint, settings, identity
        self.folder = "" if checkpoint is None else os.fspath(checkpoint.path)
        self.saved_at = -1
        self._failed = False  # the last was not written
        self._lock: FolderLock | None = None

    def __enter__(self) -> None:
        """Make the folder, see that it can be written into, and keep others out until the end."""
        if self.checkpoint is not None:
            self.checkpoint.prepare()
            self._lock = FolderLock(self.folder)

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def due(self, step: int) -> bool:
        """Whether there is to be a checkpoint after this step, wherever in an epoch it is."""
        return self.checkpoint is not None and bool(self.checkpoint.every) and step % self.checkpoint.every == 0

    @property
    def after_epochs(self) -> bool:
        """Whether there is to be a checkpoint after each epoch."""
        return self.checkpoint is not None and self.checkpoint.every is None

    def save(self, step: int, tree: Tree, record: dict[str, Any]) -> None:
        """Write a checkpoint; one that cannot be written is a warning, and no reason to lose the training."""
        if self.checkpoint is None:
            return
        try:
            self.checkpoint.save(step, tree, {_METADATA: json.dumps({**self._told(), **record})})
        except OSError as error:
            if not self._failed:  # once is enough for a disk that is full
                newest = f"is that of step {self.saved_at}" if self.saved_at >= 0 else "is yet to be written"
                message = (
                    f"fit: the checkpoint of step {step} could not be written into {self.folder}: "
                    f"{error.strerror or error}. The training goes on and tries again when the next is due; the newest "
                    f"{newest}. Make room there."
                )
                warnings.warn(message, CheckpointWarning, stacklevel=2)
            self._failed = True
            return
        self.saved_at, self._failed = step, False

    def restore(self, like: Tree, resume: bool | str) -> tuple[int, Tree, dict[str, Any]] | None:
        """The step, tree and record of the newest checkpoint, if `fit` is to go on from there."""
        checkpoint = self.checkpoint
        if checkpoint is None:
            if resume is True:
                raise ValueError(
                    f"{where()}fit: resume=True, but there are no checkpoints: pass checkpoint=, a folder."
                )
            return None
        if resume is False and checkpoint.steps():
            raise ValueError(
                f"{where()}fit: resume=False, but {self.folder} holds checkpoints of another training. Choose an empty "
                "folder, or delete them."
            )
        found = self._newest(checkpoint, like)
        if found is None:
            if resume is True:
                raise ValueError(f"{where()}fit: resume=True, but there is no checkpoint in {self.folder}.")
            return None
        step, tree, metadata = found
        if _METADATA not in metadata:
            raise ValueError(
                f"{where()}fit: {self.folder} holds checkpoints that fit did not write. Choose another folder."
            )
        record = json.loads(metadata[_METADATA])
        for name, now in self.settings.items():
            if record["settings"][name] != now:
                raise ValueError(
                    f"{where()}fit: the checkpoints in {self.folder} are of a training with {name}="
                    f"{record['settings'][name]!r}, and this one has {now!r}. Use the same, or another folder."
                )
        self._compare(step, record)
        self.saved_at = step
        return step, tree, record

    def _told(self) -> dict[str, Any]:
        return {"settings": self.settings, "identity": self.identity}

    def _compare(self, step: int, record: dict[str, Any]) -> None:
        """Say if the training goes on with other data or another optimiser: it may be meant, or a mistake."""
        before = record.get("identity", {})
        found = {
            what: told
            for what, now in self.identity.items()
            if what in before and (told := difference(before[what], now))
        }
        if found:
            listed = " and ".join([f"other {what} ({told})" for what, told in found.items()])
            message = (
                f"{where()}fit: the training in {self.folder} goes on from step {step} with {listed}. If that is not "
                "meant, stop it; for a training of its own choose another folder."
            )
            warnings.warn(message, CheckpointWarning, stacklevel=2)

    def _newest(self, checkpoint: Checkpoint, like: Tree) -> tuple[int, Tree, dict[str, str]] | None:
        try:
            return checkpoint.restore(like)
        except CheckpointError:
            raise
        except ValueError as error:
            raise ValueError(
                f"{error} fit was to go on from there: the parameters, the state, the kind of optimizer and "
                "restore_best must be as they were. Choose another folder for another training."
            ) from None
