"""Keys and bits: what every distribution is made from.

Inside, a key is a pair of words. They may be arrays, a batch of keys: results then have the batch axis first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from graphad import numpy as gnp
from graphad.config import config
from graphad.ir.types import dtype_of, fits, i32, u32
from graphad.numpy._create.counting import counted
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.primitives.random import threefry2x32
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.keys import KeyArray, is_keys
from graphad.trace.semantics import (
    as_operand,
    canonical_dtype,
    canonical_shape,
    cast,
    default_int,
    dtype_and_weakness,
    shape_text,
)

Words = tuple[Any, Any]
_IMPL: Final = "threefry2x32"


def key(seed: ArrayLike, *, impl: str | None = None) -> KeyArray:
    """The key that belongs to an integer.

    Parameters
    ----------
    seed
        An integer.
    impl
        The generator: ``"threefry2x32"``, the only one there is.

    Examples
    --------
    >>> key(42)
    Array((), dtype=key<fry>) overlaying:
    [ 0 42]
    """
    return KeyArray(_seeded(seed, impl, "key"))


def PRNGKey(seed: ArrayLike, *, impl: str | None = None) -> Array:  # noqa: N802 - JAX's name
    """The key that belongs to an integer, as the array of its words: the older form of `key`.

    >>> PRNGKey(42)
    Array([ 0, 42], dtype=uint32)
    """
    return _seeded(seed, impl, "PRNGKey")


def _seeded(seed: ArrayLike, impl: str | None, name: str) -> Array:
    _check_impl(impl, name)
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        # The upper word is that of the dtype which the integer has as an argument of a compiled function.
        high = int(seed) >> 32 if default_int().bits == 64 or not fits(int(seed), i32) else 0
        return Array(np.array([high & 0xFFFFFFFF, int(seed) & 0xFFFFFFFF], np.uint32))
    seed = as_operand(seed, name)
    dtype, _ = dtype_and_weakness(seed)
    if seed.ndim or not dtype.is_integer:
        raise TypeError(f"{source.where()}{name} takes an integer as seed, got {shape_text(seed)}.")
    high = cast(gnp.right_shift(seed, 32), u32) if dtype.bits == 64 else Array(np.zeros((), np.uint32))
    return gnp.stack([high, cast(seed, u32)])


def _check_impl(impl: Any, name: str) -> None:
    if impl not in (None, _IMPL):
        raise ValueError(f"{source.where()}{name} got impl={impl!r}; the one generator is {_IMPL!r}.")


def split(key: ArrayLike, num: int | Sequence[int] = 2) -> Any:
    """So many new keys, to be used in place of ``key``.

    >>> a, b = split(PRNGKey(0))
    >>> a
    Array([4146024105,  967050713], dtype=uint32)
    """
    shape = canonical_shape(num, "split")
    return _as(key, gnp.reshape(split_words(words_of(key, "split"), math.prod(shape)), (*shape, 2)))


def _as(key: ArrayLike, words: Any) -> Any:
    """Keys of ``words`` in the form of ``key``."""
    return KeyArray(words) if is_keys(key) else words


def split_words(words: Words, num: int) -> Any:
    """``num`` keys for each key of the batch, their words along the last axis."""
    if config.threefry_partitionable:
        return gnp.stack(_counted(words, num), axis=-1)
    return gnp.reshape(_halved(words, 2 * num), (*words[0].shape, num, 2))


def fold_in(key: ArrayLike, data: ArrayLike) -> Any:
    """A new key from ``key`` and an integer, such as the number of a step.

    >>> fold_in(PRNGKey(0), 1)
    Array([ 928981903, 3453687069], dtype=uint32)
    """
    k0, k1 = words_of(key, "fold_in")
    if isinstance(data, int):
        data = np.uint32(data & 0xFFFFFFFF)
    data = as_operand(data, "fold_in")
    if data.ndim or not dtype_and_weakness(data)[0].is_integer:
        raise TypeError(f"{source.where()}fold_in takes an integer besides the key, got {shape_text(data)}.")
    return _as(key, gnp.stack(threefry2x32(k0, k1, 0, cast(data, u32))))


def key_data(keys: ArrayLike) -> Array:
    """The words of keys, along a last axis.

    >>> key_data(key(7))
    Array([0, 7], dtype=uint32)
    """
    return _checked(keys._words if is_keys(keys) else keys, "key_data")


def wrap_key_data(key_bits_array: ArrayLike, *, impl: str | None = None) -> KeyArray:
    """The keys of words, which are those along the last axis.

    >>> import graphad.numpy as gnp
    >>> wrap_key_data(gnp.array([0, 7], "uint32")) == key(7)
    Array(True, dtype=bool)
    """
    _check_impl(impl, "wrap_key_data")
    return KeyArray(_checked(key_bits_array, "wrap_key_data"))


def _checked(words: Any, name: str) -> Array:
    words = as_operand(words, name)
    if dtype_and_weakness(words)[0] is not u32 or words.shape[-1:] != (2,):
        raise TypeError(f"{source.where()}{name} takes uint32[..., 2], got {shape_text(words)}.")
    return words


def key_impl(keys: ArrayLike) -> str:
    """The name of the generator that keys are for.

    >>> key_impl(key(0))
    'threefry2x32'
    """
    key_data(keys)
    return _IMPL


def clone(key: ArrayLike) -> Any:
    """The key once more, to say that it is used twice on purpose.

    >>> clone(key(0)) == key(0)
    Array(True, dtype=bool)
    """
    key_data(key)
    return key


def bits(key: ArrayLike, shape: Shape = (), dtype: DTypeLike | None = None) -> Array:
    """Random bits as unsigned integers, uint32 unless told otherwise.

    >>> bits(PRNGKey(0), (2,))
    Array([ 928981903, 3453687069], dtype=uint32)
    """
    wanted = u32 if dtype is None else canonical_dtype(dtype)
    if wanted.kind != "u":
        raise TypeError(f"{source.where()}bits gives unsigned integers, not {wanted.numpy}.")
    return random_bits(words_of(key, "bits"), wanted.bits, canonical_shape(shape, "bits"))


def random_bits(words: Words, width: int, shape: tuple[int, ...]) -> Any:
    """Unsigned integers of ``width`` bits."""
    size, dtype, batch_shape = math.prod(shape), dtype_of(f"u{width}"), words[0].shape
    if config.threefry_partitionable:
        high, low = _counted(words, size)
        flat = (cast(high, dtype) << 32) | cast(low, dtype) if width == 64 else cast(high ^ low, dtype)
    elif width == 64:
        both = cast(_halved(words, 2 * size), dtype)
        flat = gnp.left_shift(both[..., :size], 32) | both[..., size:]
    elif width == 32:
        flat = _halved(words, size)
    else:
        blocks = _halved(words, -(-size * width // 32))
        shifts = np.arange(0, 32, width, dtype=np.uint32)
        parts = gnp.bitwise_and(gnp.right_shift(blocks[..., None], shifts), np.uint32(2**width - 1))
        flat = cast(gnp.reshape(parts, (*batch_shape, -1))[..., :size], dtype) if size else cast(blocks, dtype)
    return gnp.reshape(flat, (*batch_shape, *shape))


def words_of(key: Any, name: str) -> Words:
    """The two words of a key."""
    words = key._words if is_keys(key) else as_operand(key, name)
    if dtype_and_weakness(words)[0] is not u32 or words.shape != (2,):
        got = f"{key.dtype}{list(key.shape)}" if is_keys(key) else shape_text(words)
        raise TypeError(
            f"{source.where()}{name} takes a key, as key(0) and split give it, got {got}. "
            "For several keys at once write graphad.vmap."
        )
    return words[0], words[1]


def words_of_batch(keys: Any) -> Words:
    """The words of a batch of keys."""
    return keys[..., 0], keys[..., 1]


def _encrypted(words: Words, high: Any, low: Any) -> list[Any]:
    batch_shape = words[0].shape
    k0, k1 = (gnp.broadcast_to(k[:, None] if batch_shape else k, (*batch_shape, *low.shape)) for k in words)
    high, low = (x if isinstance(x, int) else gnp.broadcast_to(x, (*batch_shape, *low.shape)) for x in (high, low))
    return threefry2x32(k0, k1, high, low)


def _counted(words: Words, size: int) -> list[Any]:
    """Both words of block after block, as the newer layout has them."""
    _check_size(size)
    return _encrypted(words, 0, counted(words[0], (size,), 0, u32))


def _halved(words: Words, size: int) -> Any:
    """``size`` words as the older layout has them: the counters' first half paired with their second half."""
    _check_size(size)
    half = (size + 1) // 2
    first = counted(words[0], (half,), 0, u32)
    second = first + half
    if size % 2:  # the counter that is one too many is 0
        second = gnp.where(first == half - 1, np.uint32(0), second)
    return gnp.concatenate(_encrypted(words, first, second), axis=-1)[..., :size]


def _check_size(size: int) -> None:
    if size >= 2**32:
        raise ValueError(f"{source.where()}one key gives fewer than 2**32 words at once, not {size}: split the key.")
