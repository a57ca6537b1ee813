"""Data on its way to the program: batches in an order that a key decides, and prefetching to a device."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import numpy as np

from graphad import numpy as gnp
from graphad.api.devices import device_put
from graphad.api.jit import jit
from graphad.config import config
from graphad.device import parse
from graphad.random import key as key_of_seed
from graphad.random import key_data
from graphad.trace.array import Array
from graphad.trace.keys import is_keys
from graphad.trace.pytree import Tree, flatten, path_text, unflatten
from graphad.trace.source import where

NDArray = np.ndarray[Any, Any]
Key = Any  # an integer seed, what graphad.random.key makes of it, or the words of that


def batches(
    data: Tree,
    batch_size: int | None = None,
    key: Key | None = None,
    epoch: int = 0,
    drop_last: bool = False,
    *,
    start: int = 0,
) -> Iterator[Tree]:
    """The mini-batches of one epoch.

    Their order depends on ``key``, ``epoch`` and the number of examples alone: to go on where a run ended, nothing else
    need be kept.

    Parameters
    ----------
    data
        Arrays in any containers; the first axis of each counts the examples.
    batch_size
        Examples of a batch; None for all of them.
    key
        A seed, or a key of `graphad.random`, that decides the order; None leaves the examples in theirs.
    epoch
        Each epoch has an order of its own.
    drop_last
        Leave out the last batch if it is smaller than the others.
    start
        Begin with this batch.

    Returns
    -------
    iterator
        Of trees like ``data``, of NumPy arrays.

    Examples
    --------
    >>> x = np.arange(5)
    >>> [b.tolist() for b in batches(x, 2)]
    [[0, 1], [2, 3], [4]]
    >>> [b.tolist() for b in batches(x, 2, key=0, epoch=1, drop_last=True)]
    [[3, 2], [4, 1]]
    """
    n = count_examples(data, "batches")
    size = check_batch_size(batch_size, n, "batches")
    leaves, treedef = flatten(data)
    arrays = [np.asarray(leaf) for leaf in leaves]
    order = None if key is None else shuffled(n, key, epoch)
    starts = range(start * size, n - size + 1 if drop_last else n, size)

    def take(first: int) -> Tree:
        chosen = slice(first, first + size) if order is None else order[first : first + size]
        return unflatten(treedef, [x[chosen] for x in arrays])

    return map(take, starts)


def shuffled(n: int, key: Key, epoch: int) -> NDArray:
    """A permutation of ``range(n)``, the same on every machine.

    The order of ``n`` words of Philox (Salmon et al. 2011), whose stream NumPy guarantees, for this key and epoch.
    """
    high, low = (int(word) for word in key_words(key))
    words = np.random.Philox(key=np.array([high << 32 | low, epoch], np.uint64)).random_raw(n)
    return np.argsort(words, kind="stable")


def key_words(key: Key | None) -> NDArray:
    """The two words of a key, of the key of a seed, or of key 0 for None."""
    if key is None or (np.ndim(key) == 0 and not is_keys(key)):
        key = key_of_seed(0 if key is None else key)
    words = np.asarray(key_data(key) if is_keys(key) else key)
    if words.shape != (2,) or words.dtype != np.uint32:
        raise TypeError(
            f"{where()}a key is an integer seed or what graphad.random.key makes of one, "
            f"not {words.dtype}[{','.join(map(str, words.shape))}]."
        )
    return words


def count_examples(data: Tree, name: str) -> int:
    """The length that the first axes of all arrays have in common; `name` is the function's, for the errors."""
    leaves = flatten(data)[0]
    if not leaves:
        raise ValueError(f"{where()}{name}: the data hold no arrays. Pass arrays, or a tuple or dict of them.")
    shapes = [np.shape(leaf) for leaf in leaves]
    for k, shape in enumerate(shapes):
        if not shape and (lists := [x for x in flatten(data, _is_list_of_numbers)[0] if _is_list_of_numbers(x)]):
            raise TypeError(
                f"{where()}{name}: the data hold a list of {len(lists[0])} numbers. Lists are containers of arrays, as "
                "tuples are: write np.asarray(...) around what is to be one array."
            )
        if not shape:
            raise ValueError(
                f"{where()}{name}: data{path_text(data, k)} is a single number; the first axis of each array counts "
                f"the examples. {of_list(data, name) or _NO_AXIS}"
            )
        if shape[0] != shapes[0][0]:
            raise ValueError(
                f"{where()}{name}: data{path_text(data, 0)} has {shapes[0][0]} examples (shape {shapes[0]}), but "
                f"data{path_text(data, k)} has {shape[0]} (shape {shape}). The first axis of each array counts the "
                f"examples{f'. {told}' if (told := of_list(data, name)) else _OTHER_LENGTH}"
            )
    if not shapes[0][0]:
        raise ValueError(f"{where()}{name}: there are no examples: the arrays have shape {shapes[0]}.")
    return shapes[0][0]


def of_list(data: Tree, name: str) -> str:
    """What to write instead of a list of examples (or, for `fit`, of batches); empty where ``data`` is not such a list.

    >>> of_list([(1.0, 2.0), (3.0, 4.0)], "fit")
    'It is a list of 2 tuples: of examples write tuple(map(np.stack, zip(*data))), of batches lambda epoch: data.'
    """
    kinds = {type(x) for x in cast("list[Any]", data)} if isinstance(data, list) else set()
    if len(kinds) != 1 or not (kinds <= {tuple, list, dict}):
        return ""
    (kind,), count = kinds, len(cast("list[Any]", data))
    examples = "tuple(map(np.stack, zip(*data)))"
    if kind is dict:
        examples = "{k: np.stack([x[k] for x in data]) for k in data[0]}"
    batches = ", of batches lambda epoch: data" if name == "fit" else ""
    return f"It is a list of {count} {kind.__name__}{'s' * (count != 1)}: of examples write {examples}{batches}."


def _is_list_of_numbers(x: Any) -> bool:
    return isinstance(x, list) and bool(cast("list[Any]", x)) and isinstance(x[0], (int, float))


def check_batch_size(batch_size: int | None, n: int, name: str) -> int:
    """The size of a batch: all examples for None."""
    if batch_size is None:
        return n
    check_integer("batch_size", batch_size, name)
    if batch_size < 1:
        raise ValueError(f"{where()}{name}: batch_size={batch_size}; a batch has at least one example.")
    if batch_size > n:
        raise ValueError(
            f"{where()}{name}: batch_size={batch_size}, but there are {n} examples. Pass at most {n}, or None for all "
            "in one batch."
        )
    return batch_size


def check_integer(what: str, value: Any, name: str) -> None:
    """Refuse what is no whole number; `name` is the function's, for the error."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{where()}{name}: {what}={value!r} must be an integer.")


def to_device(tree: Tree, device: str | None = None) -> Tree:
    """The arrays of ``tree`` where the programs for ``device`` (by default `config.default_device`) read them.

    For the CPU these are NumPy's arrays as they are.

    >>> to_device({"x": np.ones(2)})
    {'x': array([1., 1.])}
    """
    place = config.default_device if device is None else device
    return tree if parse(place).is_host else device_put(tree, place)


def read_scalars(arrays: list[Any]) -> list[float]:
    """The numbers in ``arrays`` of one element each, fetched from a device many at a time."""
    if all(type(x) is Array for x in arrays):
        return [float(x) for x in arrays]
    whole = len(arrays) - len(arrays) % _FETCHED
    groups = [_stacked(arrays[k : k + _FETCHED]) for k in range(0, whole, _FETCHED)]
    return [float(x) for group in groups for x in np.asarray(group)] + [float(x) for x in arrays[whole:]]


@jit
def _stacked(numbers: list[Any]) -> Any:
    return gnp.stack([gnp.reshape(x, ()) for x in numbers])


_NO_AXIS: Final = "Make it a constant of the loss, or repeat it for each example."
_OTHER_LENGTH: Final = ": cut the longer array, or move the axis to the front with np.moveaxis."
_FETCHED: Final = 64  # numbers at a time: one program, whatever their number
_END: Final = object()
_PATIENCE: Final = 5.0  # seconds for an iterator to give what it is about to; afterwards its thread is left behind


class _Failure:
    """What the thread of `prefetch` raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch(iterator: Iterable[Tree], device: str | None = None, size: int = 2) -> Iterator[Tree]:
    """The items of ``iterator``, made ready and brought to the device ahead of time by another thread.

    Parameters
    ----------
    iterator
        What gives the batches: `batches`, or a generator that reads files.
    device
        Where they go, as for `to_device`.
    size
        How many items wait ready at most.

    Examples
    --------
    >>> [b.tolist() for b in prefetch(batches(np.arange(4), 2))]
    [[0, 1], [2, 3]]
    """
    if size < 1:
        raise ValueError(f"{where()}prefetch: size={size}; at least one item must be able to wait.")
    return _prefetched(iterator, device or config.default_device, size)


def _prefetched(iterator: Iterable[Tree], device: str, size: int) -> Iterator[Tree]:
    ready: queue.Queue[Any] = queue.Queue(size)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in iterator:
                put(to_device(item, device))
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - raised again where the items are read
            put(_Failure(error))

    thread = threading.Thread(target=work, name="graphad-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stopped.set()
        thread.join(_PATIENCE)
