"""`KeyArray`: an array of random keys, such as `graphad.random.key` makes.

A key is two words of 32 bits. In graphs, programs and regions there are only these: an array of keys is a container
whose one leaf is ``uint32[..., 2]``, so that it goes through every transformation as any other container. To users it
is an array of the shape before the last axis, of an element type that nothing can be computed with but in
`graphad.random`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeGuard

import numpy as np

from graphad.errors import KeyOperandError
from graphad.trace.float0 import is_float0
from graphad.trace.pytree import Tree, flatten, register
from graphad.trace.source import where


class extended(np.generic):  # noqa: N801 - JAX's name
    """The kind of element types that NumPy does not have."""


class prng_key(extended):  # noqa: N801 - JAX's name
    """The kind of element types of random keys."""


class KeyType:
    """The element type of random keys, ``key<fry>``: those of Threefry, the one generator there is."""

    __slots__ = ()
    name = "key<fry>"
    type = prng_key
    itemsize = 8

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return "KEY_TYPE"


KEY_TYPE: Final = KeyType()


class KeyArray:
    """An array of random keys; made by `graphad.random.key`, `split` and `wrap_key_data`.

    Indexing, ``len``, iteration, ``==``, and what `graphad.numpy` has for moving elements work as for any array. Keys
    are no numbers: for their words write ``graphad.random.key_data(keys)``. Nor are they an `Array` to ``isinstance``.

    Examples
    --------
    >>> from graphad.random import key, split
    >>> keys = split(key(0), 3)
    >>> keys.shape, keys.dtype, keys[0].shape
    ((3,), key<fry>, ())
    """

    __slots__ = ("_words",)
    __array_priority__ = 100
    __array_ufunc__ = None  # operators with an array of NumPy's are ours
    _words: Any

    def __init__(self, words: Any) -> None:
        self._words = words

    # --- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self._words.shape[:-1]

    @property
    def dtype(self) -> KeyType:
        return KEY_TYPE

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self._words.size // 2

    @property
    def itemsize(self) -> int:
        return KEY_TYPE.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def device(self) -> Any:
        return self._words.device

    def devices(self) -> set[Any]:
        return {self.device}

    # --- elements

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{where()}len() of a key: it has no axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[KeyArray]:
        if not self.shape:
            raise TypeError(f"{where()}iteration over a key: it has no axes. Write graphad.random.split(key, n).")
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> KeyArray:
        return KeyArray(self._words[self._index(index)])

    def _index(self, index: Any) -> Any:
        """``index`` for the words; none of its parts reaches their axis."""
        items = index if type(index) is tuple else (index,)
        return (*items, slice(None)) if any([i is Ellipsis for i in items]) else (*items, ..., slice(None))

    @property
    def at(self) -> KeysAt:
        """``keys.at[index].get()`` and ``.set(keys)``, as of other arrays."""
        return KeysAt(self)

    def __eq__(self, other: object) -> Any:
        return False if other is None else (self._words == self._words_of(other, "==")).all(-1)

    def __ne__(self, other: object) -> Any:
        return True if other is None else (self._words != self._words_of(other, "!=")).any(-1)

    def _words_of(self, other: object, what: str) -> Any:
        if type(other) is not KeyArray:
            raise KeyOperandError(f"{where()}{what} compares keys with keys, got {type(other).__name__}.")
        return other._words

    __hash__ = None  # type: ignore[assignment]

    def block_until_ready(self) -> KeyArray:
        self._words.block_until_ready()
        return self

    def copy(self) -> KeyArray:
        """The keys themselves: nobody can change them."""
        return self

    # --- what it refuses

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise refused(self, "np.asarray")

    def __bool__(self) -> NoReturn:
        raise refused(self, "bool")

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(f"{where()}arrays are immutable: write keys = keys.at[i].set(key) instead of keys[i] = key.")

    # --- text, copies

    def __repr__(self) -> str:
        if not isinstance(getattr(self._words, "_value", None), np.ndarray):
            return f"KeyArray({self.shape}, dtype={KEY_TYPE}) of {self._words!r}"
        return f"Array({self.shape}, dtype={KEY_TYPE}) overlaying:\n{self._words}"

    def __copy__(self) -> KeyArray:
        return self

    def __deepcopy__(self, _memo: Any) -> KeyArray:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyArray, (self._words,)

    if TYPE_CHECKING:  # set by `graphad.numpy`, as the methods of other arrays

        def flatten(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        def ravel(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        def repeat(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        def reshape(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        def squeeze(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        def swapaxes(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        def take(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        def transpose(self, *args: Any, **kwargs: Any) -> KeyArray: ...
        @property
        def T(self) -> KeyArray: ...  # noqa: N802
        @property
        def mT(self) -> KeyArray: ...  # noqa: N802


def _made_of(_data: None, children: Any) -> Any:
    """Keys of their words; of a derivative by the words, which is one of ``float0``, that by the keys."""
    (words,) = children
    return np.zeros(words.shape[:-1], words.dtype) if is_float0(words) else KeyArray(words)


register(KeyArray, lambda x: ((x._words,), None), _made_of)


class KeysAt:
    """What ``keys.at`` is."""

    __slots__ = ("_keys",)

    def __init__(self, keys: KeyArray) -> None:
        self._keys = keys

    def __getitem__(self, index: Any) -> KeysUpdate:
        return KeysUpdate(self._keys, index)

    def __repr__(self) -> str:
        return f"KeysAt({self._keys!r})"


class KeysUpdate:
    """``keys.at[index]``: keys can be read and replaced there, and nothing else."""

    __slots__ = ("_keys", "_words_at")

    def __init__(self, keys: KeyArray, index: Any) -> None:
        self._keys = keys
        self._words_at = keys._words.at[keys._index(index)]

    def get(self, **options: Any) -> KeyArray:
        """The keys at the index."""
        return KeyArray(self._words_at.get(**options))

    def set(self, values: KeyArray, **options: Any) -> KeyArray:
        """The array with other keys at the index."""
        if type(values) is not KeyArray:
            raise KeyOperandError(f"{where()}keys.at[i].set takes keys, got {type(values).__name__}.")
        return KeyArray(self._words_at.set(values._words, **options))


# ---------------------------------------------------------------------------------------------------------------------
# Keys where others want numbers


def refused(keys: KeyArray, what: str) -> KeyOperandError:
    """The error for keys among the operands of ``what``."""
    return KeyOperandError(
        f"{where()}{what} got keys ({KEY_TYPE}{list(keys.shape)}), which are no numbers. Draw numbers from a key with "
        "graphad.random, or take its words: graphad.random.key_data(key)."
    )


def _refusing(symbol: str) -> Callable[..., NoReturn]:
    def operator(self: KeyArray, *_others: Any) -> NoReturn:
        raise refused(self, symbol)

    return operator


_BINARY: Final = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "divmod": "divmod", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
_OTHERS: Final = {
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "neg": "-", "pos": "+", "abs": "abs", "invert": "~", "float": "float",
    "int": "int", "complex": "complex", "round": "round", "index": "an index",
}  # fmt: skip

for _name, _symbol in (_BINARY | {f"r{name}": symbol for name, symbol in _BINARY.items()} | _OTHERS).items():
    setattr(KeyArray, f"__{_name}__", _refusing(_symbol))


# ---------------------------------------------------------------------------------------------------------------------
# Keys in containers


def is_keys(x: Any) -> TypeGuard[KeyArray]:
    """Whether this is an array of keys, which `flatten` does not open where it is told so (``is_leaf``)."""
    return type(x) is KeyArray


def hidden_axes(tree: Tree) -> list[int]:
    """For each leaf of ``tree``, how many axes at its end users do not see: one of the words of keys."""
    return [int(is_keys(x)) for x in flatten(tree, is_keys)[0]]
