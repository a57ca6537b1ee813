"""Order, choice, and distributions of integers."""

from __future__ import annotations

import math
import operator
from typing import Any

from graphad import numpy as gnp
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.random._continuous import gumbel
from graphad.random._keys import Words, random_bits, split_words, words_of, words_of_batch
from graphad.random._uniform import check_shapes, float_dtype, fractions, parameters, randint, uniform
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.keys import is_keys
from graphad.trace.semantics import (
    as_float,
    as_operand,
    canonical_axis,
    canonical_dtype,
    canonical_shape,
    cast,
    default_int,
    dtype_and_weakness,
)


def geometric(key: ArrayLike, p: ArrayLike, shape: Shape | None = None, dtype: DTypeLike | None = None) -> Array:
    """Geometric distribution: the number of trials up to the first success, each with probability ``p``.

    >>> from graphad.random import key
    >>> geometric(key(0), 0.5, (2,))
    Array([3, 1], dtype=int32)
    """
    wanted = default_int() if dtype is None else canonical_dtype(dtype)
    p = as_float(p, "geometric")
    real = float_dtype(p.dtype, "geometric")
    (p,), sizes = parameters("geometric", shape, real, p)
    u = fractions(words_of(key, "geometric"), sizes, real)
    return cast(gnp.floor(gnp.log(gnp.where(u == 0, 1, u)) / gnp.log1p(-p)) + 1, wanted)


def categorical(
    key: ArrayLike,
    logits: ArrayLike,
    axis: int = -1,
    shape: Shape | None = None,
    replace: bool = True,
    mode: str | None = None,
) -> Array:
    """Categorical distribution: positions along an axis of ``logits``, with probabilities ``nn.softmax(logits, axis)``.

    Parameters
    ----------
    shape
        That of the result: the other axes of ``logits``, with any number of axes of draws before them.
    replace
        Whether the same position may be drawn twice.
    mode
        As in `gumbel`.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> from graphad.random import key
    >>> categorical(key(0), gnp.log(gnp.array([0.01, 0.01, 0.98])), shape=(3,))
    Array([2, 2, 2], dtype=int32)
    """
    logits = as_float(logits, "categorical")
    k = canonical_axis(axis, logits.ndim, "categorical")
    others = (*logits.shape[:k], *logits.shape[k + 1 :])
    sizes = others if shape is None else canonical_shape(shape, "categorical")
    check_shapes("categorical", sizes, others)
    draws = sizes[: len(sizes) - len(others)]
    if replace:
        noise = gumbel(key, (*draws, *logits.shape), logits.dtype, mode)
        return cast(gnp.argmax(noise + logits, axis=k - logits.ndim), default_int())
    count = math.prod(draws)
    if count > logits.shape[k]:
        raise ValueError(
            f"{source.where()}categorical without replacement cannot draw {count} of {logits.shape[k]} categories."
        )
    noisy = logits + gumbel(key, logits.shape, logits.dtype, mode)
    greatest = _greatest(gnp.moveaxis(noisy, k, -1), count)
    return gnp.reshape(gnp.moveaxis(greatest, -1, 0), sizes)


def permutation(key: ArrayLike, x: ArrayLike, axis: int = 0, independent: bool = False) -> Array:
    """``x`` (or the numbers below the integer ``x``) in random order along an axis.

    With ``independent`` each position of the other axes has an order of its own.

    >>> from graphad.random import key
    >>> permutation(key(0), 5).sum()
    Array(10, dtype=int32)
    """
    words = words_of(key, "permutation")
    operand: Any = x if is_keys(x) else as_operand(x, "permutation")
    if not operand.ndim:
        return _shuffled(words, gnp.arange(operator.index(operand)), 0)
    k = canonical_axis(axis, operand.ndim, "permutation")
    if independent or operand.ndim == 1:
        return _shuffled(words, operand, k)
    return gnp.take(operand, _shuffled(words, gnp.arange(operand.shape[k]), 0), k)


def shuffle(key: ArrayLike, x: ArrayLike, axis: int = 0) -> Array:
    """`permutation` of an array with an order of its own at each position of the other axes.

    >>> import graphad.numpy as gnp
    >>> from graphad.random import key
    >>> shuffle(key(0), gnp.arange(5)).sum()
    Array(10, dtype=int32)
    """
    return permutation(key, x, axis, independent=True)


def choice(
    key: ArrayLike,
    a: ArrayLike,
    shape: Shape = (),
    replace: bool = True,
    p: ArrayLike | None = None,
    axis: int = 0,
    mode: str | None = None,
) -> Array:
    """Elements of ``a`` (or numbers below the integer ``a``) drawn at random, with probabilities ``p``.

    ``mode`` is that of `gumbel`, which is used where ``p`` is given and nothing is drawn twice.

    >>> from graphad.random import key
    >>> choice(key(0), 5, (3,)).shape
    (3,)
    """
    among: Any = a if is_keys(a) else as_operand(a, "choice")
    sizes = canonical_shape(shape, "choice")
    k = canonical_axis(axis, among.ndim, "choice") if among.ndim else 0
    n, draws = among.shape[k] if among.ndim else operator.index(among), math.prod(sizes)
    if draws and n <= 0:
        raise ValueError(f"{source.where()}choice has nothing to draw from: {n} elements.")
    if not replace and draws > n:
        raise ValueError(f"{source.where()}choice without replacement cannot draw {draws} of {n} elements.")
    if p is not None:
        p = as_float(p, "choice")
        if p.shape != (n,):
            raise ValueError(f"{source.where()}choice takes p of shape ({n},), got {p.shape}.")
        index = _weighted(key, p, sizes, replace, mode)
    elif replace:
        index = randint(key, sizes, 0, n)
    else:
        index = gnp.reshape(permutation(key, n)[:draws], sizes)
    return gnp.take(among, index, k) if among.ndim else index


def _weighted(key: ArrayLike, p: Any, sizes: tuple[int, ...], replace: bool, mode: str | None) -> Any:
    if replace:
        cumulative = gnp.cumsum(p)
        drawn = cumulative[-1] * (1 - uniform(key, sizes, dtype_and_weakness(cumulative)[0]))
        return gnp.searchsorted(cumulative, drawn)
    # The greatest of the logarithms plus Gumbel noise (Vieira 2014).
    noisy = gumbel(key, p.shape, p.dtype, mode) + gnp.log(p)
    return gnp.reshape(_greatest(noisy, math.prod(sizes)), sizes)


def _shuffled(words: Words, x: Any, axis: int) -> Any:
    """``x`` sorted along ``axis`` by random words, several times, so that ties between words leave no trace.

    The number of rounds is that of JAX, after tensorflow/compiler/tf2xla/random_ops.cc.
    """
    for _ in range(math.ceil(3 * math.log(max(1, x.size)) / math.log(2**32 - 1))):
        words, subwords = map(words_of_batch, split_words(words, 2))
        x = gnp.take_along_axis(x, gnp.argsort(random_bits(subwords, 32, x.shape), axis), axis)
    return x


def _greatest(x: Any, count: int) -> Any:
    """The positions of the greatest elements along the last axis, the greatest first."""
    return cast(gnp.argsort(x, axis=-1, descending=True)[..., :count], default_int())
