"""`Checkpoint`: the last few states of a training in a folder."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from graphad.errors import GraphadWarning
from graphad.trace.pytree import Tree
from graphad.trace.source import user_loc, where
from graphad.train._files import CheckpointError, PathLike, load_with_metadata, save

_NAME: Final = re.compile(r"step-(\d+)\.safetensors")
_TEMPORARY: Final = re.compile(r"\.step-\d+\.safetensors\..*\.tmp")


class CheckpointWarning(GraphadWarning):
    """A checkpoint is damaged and an earlier one is used, or one could not be written."""


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoints ``step-00000120.safetensors`` of one training, in a folder of their own.

    Attributes
    ----------
    path
        The folder; it is made where there is none.
    every
        Steps between two checkpoints; None for one at the end of each epoch.
    keep
        How many of the newest to keep. With two or more, a damaged one costs only the steps since the one before.

    Examples
    --------
    >>> import tempfile
    >>> checkpoint = Checkpoint(tempfile.mkdtemp(), keep=2)
    >>> for step in (1, 2, 3):
    ...     checkpoint.save(step, {"w": 10.0 * step})
    >>> checkpoint.steps()
    [2, 3]
    >>> checkpoint.restore({"w": 0.0})
    (3, {'w': Array(30., dtype=float32)}, {})
    """

    path: PathLike
    every: int | None = None
    keep: int = 2

    def __post_init__(self) -> None:
        for name, value in (("every", self.every), ("keep", self.keep)):
            if value is not None and value < 1:
                caller = user_loc(3)  # beyond the __init__ that dataclasses write
                raise ValueError(f"{where(caller)}Checkpoint: {name}={value} must be at least 1.")

    def steps(self) -> list[int]:
        """The steps of which there are checkpoints, in order."""
        if not os.path.isdir(self.path):
            return []
        found = [int(match[1]) for name in os.listdir(self.path) if (match := _NAME.fullmatch(name))]
        return sorted([step for step in found if os.path.lexists(self.file(step))])  # not those of shorter names

    def file(self, step: int) -> str:
        """The file of the checkpoint of ``step``."""
        return os.path.join(self.path, f"step-{step:08d}.safetensors")

    def prepare(self) -> None:
        """Make the folder, and see that files can be written into it.

        Raises
        ------
        OSError
            If they cannot.
        """
        try:
            os.makedirs(self.path, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise type(error)(
                f"{where()}checkpoints cannot be written into {os.fspath(self.path)}: {error.strerror}. Choose a "
                "folder that can be made and written into."
            ) from error

    def save(self, step: int, tree: Tree, metadata: Mapping[str, str] | None = None) -> None:
        """Write the checkpoint of ``step``, then remove those that are not to be kept.

        Those of later steps go too: training went on from an earlier one because they are damaged.
        """
        os.makedirs(self.path, exist_ok=True)
        save(self.file(step), tree, metadata)
        steps = self.steps()
        kept = [s for s in steps if s <= step][-self.keep :]
        for s in steps:
            if s not in kept:
                with suppress(FileNotFoundError):
                    os.unlink(self.file(s))

    def restore(self, like: Tree) -> tuple[int, Tree, dict[str, str]] | None:
        """The newest checkpoint that is whole: its step, tree and metadata; None if there are none.

        A damaged one is passed over with a `CheckpointWarning`. What a killed process left half-written is removed.
        """
        damaged: CheckpointError | None = None
        for step in reversed(self.steps()):
            try:
                tree, metadata = load_with_metadata(self.file(step), like, ours=True)
            except CheckpointError as error:
                damaged = damaged or error
                continue
            if damaged is not None:
                warnings.warn(f"{damaged} Going on from that of step {step}.", CheckpointWarning, stacklevel=2)
            self._sweep()
            return step, tree, metadata
        if damaged is not None:
            raise CheckpointError(f"{damaged} There is none that is whole in {os.fspath(self.path)}.")
        return None

    def _sweep(self) -> None:
        for name in os.listdir(self.path):
            if _TEMPORARY.fullmatch(name):
                os.unlink(os.path.join(self.path, name))
