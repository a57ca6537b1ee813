"""Trees of arrays in files: the safetensors format, written so that a file is there whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import numpy as np
import optree

from graphad.errors import GraphadError
from graphad.trace.array import Array, to_array
from graphad.trace.pytree import NAMESPACE, Tree, unflatten
from graphad.trace.source import where

NDArray = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]

_OURS: Final = "graphad."  # how the names of our texts begin
_CHECKSUM: Final = f"{_OURS}crc32"
#: A second sign that a file is ours: it shows if damage has taken the checksum away.
_FORMAT: Final = f"{_OURS}format", "1"


class CheckpointError(GraphadError, ValueError):
    """A file of arrays is damaged: cut short, or not what was written.

    Remedy: an earlier checkpoint, which `Checkpoint.restore` finds by itself, or a copy of the file.
    """


def save(path: PathLike, tree: Tree, metadata: Mapping[str, str] | None = None) -> None:
    """Write the arrays of a tree in the safetensors format.

    The file takes the place of an older one in one step, when all of it is on the disk: a crash at any moment leaves
    the old file or the new one.

    Parameters
    ----------
    path
        The file, by custom ``*.safetensors``.
    tree
        Arrays and numbers in any containers. Their names in the file are their paths: ``layers.0.w``.
    metadata
        Texts to store with them.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> folder = mkdtemp()
    >>> save(f"{folder}/model.safetensors", {"w": np.ones(2, np.float32), "b": 0.5})
    >>> load(f"{folder}/model.safetensors", {"w": np.zeros(2, np.float32), "b": 0.0})
    {'w': Array([1., 1.], dtype=float32), 'b': Array(0.5, dtype=float32)}
    """
    from safetensors.numpy import save as serialized  # late: nobody else needs it

    tensors = {name: _contiguous(leaf) for name, leaf in _named(tree)}
    texts = {**(metadata or {}), _FORMAT[0]: _FORMAT[1]}
    texts[_CHECKSUM] = _checksum(tensors, texts)
    content = serialized(tensors, texts)
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _flush_folder(folder)


def load(path: PathLike, like: Tree) -> Tree:
    """The tree that `save` wrote.

    Parameters
    ----------
    path
        The file.
    like
        A tree of the same structure, shapes and dtypes, such as freshly made parameters.

    Returns
    -------
    tree
        ``like`` with the arrays of the file.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    ValueError
        If it holds other arrays than ``like``.
    """
    return load_with_metadata(path, like)[0]


def load_with_metadata(path: PathLike, like: Tree, *, ours: bool = False) -> tuple[Tree, dict[str, str]]:
    """The tree that `save` wrote, and the metadata saved with it; with ``ours``, files that other programs wrote are
    refused.
    """
    tensors, texts = _read(path, ours)
    expected = {name: _contiguous(leaf) for name, leaf in _named(like)}
    if tensors.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
        parts = [f"{verb} {_listed(names)}" for verb, names in (("lacks", missing), ("holds also", unknown)) if names]
        raise ValueError(
            f"{where()}{os.fspath(path)} is of another tree: it {' and '.join(parts)}. "
            "Load it with a tree of the structure that was saved."
        )
    for name, leaf in expected.items():
        found = tensors[name]
        if (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(
                f"{where()}{os.fspath(path)} is of another tree: {name} is {found.dtype}{list(found.shape)} there and "
                f"{leaf.dtype}{list(leaf.shape)} here. Load it with a tree of the shapes that were saved."
            )
    treedef = optree.tree_structure(like, namespace=NAMESPACE)
    return unflatten(treedef, [Array(tensors[name]) for name in expected]), texts


def _read(path: PathLike, ours: bool) -> tuple[dict[str, NDArray], dict[str, str]]:
    """The arrays and texts of a file, whole."""
    from safetensors import SafetensorError, safe_open  # late: nobody else needs it

    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for whoever writes to it
        raise CheckpointError(f"{where()}{os.fspath(path)} is no regular file. Name a file that save has written.")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError) as error:  # a name that is no UTF-8 is a ValueError
        raise CheckpointError(
            f"{where()}{os.fspath(path)} is damaged or no safetensors file: {error}. Use an earlier checkpoint."
        ) from error
    checksum = texts.pop(_CHECKSUM, None)
    if checksum is None and (ours or any(name.startswith(_OURS) for name in texts)):
        raise CheckpointError(
            f"{where()}{os.fspath(path)} is damaged: graphad wrote it, and the checksum that it writes is not there. "
            "Use an earlier checkpoint."
        )
    if checksum is not None and checksum != _checksum(tensors, texts):
        raise CheckpointError(
            f"{where()}{os.fspath(path)} is damaged: its contents do not give the checksum that was written with them. "
            "Use an earlier checkpoint."
        )
    texts.pop(_FORMAT[0], None)
    return tensors, texts


def _named(tree: Tree) -> list[tuple[str, Any]]:
    r"""The leaves with their names: the path, joined by dots; a dot within a key is written ``\.``."""
    accessors, leaves, _ = optree.tree_flatten_with_accessor(tree, namespace=NAMESPACE)
    names = [".".join([_escaped(getattr(entry, "field", entry.entry)) for entry in path]) for path in accessors]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(
            f"{where()}save: two arrays would have the name {twice[0]!r} in the file. "
            "Give them keys that differ as text."
        )
    return list(zip(names, leaves, strict=True))


def _escaped(key: Any) -> str:
    return str(key).replace("\\", "\\\\").replace(".", "\\.")


def _contiguous(leaf: Any) -> NDArray:
    """The leaf as an array whose memory is in the order of its indices."""
    return np.asarray(leaf if isinstance(leaf, np.generic) else to_array(leaf)._value, order="C")


def _checksum(tensors: Mapping[str, NDArray], texts: Mapping[str, str]) -> str:
    """Of all that the file says."""
    total = zlib.crc32(repr(sorted(texts.items())).encode())
    for name in sorted(tensors):
        x = tensors[name]
        total = zlib.crc32(f"{name} {x.dtype} {x.shape}".encode(), total)
        total = zlib.crc32(x.reshape(-1).view(np.uint8).data, total)
    return f"{total:08x}"


def _flush_folder(folder: str) -> None:
    """Wait until the names of the files are on the disk as well."""
    if os.name == "nt":  # where folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listed(names: Iterable[str]) -> str:
    first, *rest = names
    return f"{first} and {len(rest)} more" if rest else first
