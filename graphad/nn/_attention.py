"""Attention: averages of values, weighted by how well keys fit queries."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.nn._logits import softmax
from graphad.numpy._precision import wide
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_operand, cast, dtype_and_weakness, shape_text


def dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    query_seq_lengths: ArrayLike | None = None,
    key_value_seq_lengths: ArrayLike | None = None,
    local_window_size: int | tuple[int, int] | None = None,
) -> Array:
    """``softmax(query @ key.T * scale + bias) @ value``, for each head of each example (Vaswani et al. 2017).

    Parameters
    ----------
    query
        ``(B, T, N, H)`` or ``(T, N, H)``: examples, positions, heads, features.
    key, value
        ``(B, S, K, H)`` or ``(S, K, H)``. N is a multiple of K: so many heads of the query share one of these.
    bias, mask
        Broadcast to ``(B, N, T, S)``. Where the mask is false, a key is not looked at. A key that no query of an
        example looks at may be nan, and so may its value.
    scale
        ``1 / sqrt(H)`` unless given.
    is_causal
        Look at no later position.
    query_seq_lengths, key_value_seq_lengths
        ``(B,)``: positions from there on are padding. Padding of the query gives zeros.
    local_window_size
        How many positions to look back and ahead.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> x = gnp.arange(3.0).reshape(3, 1, 1)
    >>> dot_product_attention(gnp.zeros((3, 1, 1)), x, x, is_causal=True).ravel()
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    q, k, v = (as_float(x, "dot_product_attention") for x in (query, key, value))
    shape = q.shape
    q, k, v = (x[None] if x.ndim == 3 else x for x in (q, k, v))
    _check(q, k, v)
    dtype = dtype_and_weakness(q)[0]
    q, k, v = (cast(x, wide(dtype)) for x in (q, k, v))
    batch, rows, heads, size = q.shape
    columns, shared = k.shape[1:3]

    lengths = [None if n is None else as_operand(n) for n in (query_seq_lengths, key_value_seq_lengths)]
    q = _without_padding(q, lengths[0])
    k, v = (_without_padding(x, lengths[1]) for x in (k, v))
    shown = None if mask is None else _as_mask(mask)
    if shown is not None:
        looked_at = gnp.any(shown, axis=(1, 2))[:, :, None, None]  # by a query of the example
        k, v = (gnp.where(looked_at, x, 0) for x in (k, v))
    grouped = gnp.reshape(q, (batch, rows, shared, heads // shared, size))
    scores = gnp.einsum("btkgh,bskh->bkgts", grouped, k)
    scores = gnp.reshape(scores, (batch, heads, rows, columns))
    scores = scores * (1.0 / math.sqrt(size) if scale is None else scale)
    if bias is not None:
        scores = gnp.astype(scores + bias, scores.dtype)
    seen = _visible((rows, columns), shown, is_causal, lengths, local_window_size)
    if seen is not None:
        scores = gnp.where(seen, scores, -0.7 * float(np.finfo(scores.dtype).max))
    weights = gnp.reshape(softmax(scores, -1), (batch, shared, heads // shared, rows, columns))
    result = gnp.reshape(gnp.einsum("bkgts,bskh->btkgh", weights, v), q.shape)
    return cast(gnp.reshape(_without_padding(result, lengths[0]), shape), dtype)


def _without_padding(x: Any, length: Any) -> Any:
    """0 at the positions of each example from its length on: neither nan nor infinity is masked by a weight of 0."""
    if length is None:
        return x
    return gnp.where((gnp.arange(x.shape[1]) < length[:, None])[:, :, None, None], x, 0)


def _as_mask(mask: ArrayLike) -> Any:
    """The mask, with all of its four axes."""
    x = as_operand(mask, "dot_product_attention")
    if x.dtype != np.bool_:
        raise ValueError(f"{source.where()}dot_product_attention takes a mask of bools, got {shape_text(x)}.")
    if x.ndim > 4:
        raise ValueError(
            f"{source.where()}dot_product_attention broadcasts its mask to (B,N,T,S), got {shape_text(x)}."
        )
    return gnp.reshape(x, (1,) * (4 - x.ndim) + x.shape)


def _check(q: Any, k: Any, v: Any) -> None:
    texts = ", ".join(shape_text(x) for x in (q, k, v))
    if q.ndim != 4 or k.shape != v.shape or q.shape[::3] != k.shape[::3] or not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"{source.where()}dot_product_attention takes query (B,T,N,H), key and value (B,S,K,H) of one dtype, got "
            f"{texts}."
        )
    if not k.shape[2] or q.shape[2] % k.shape[2]:
        raise ValueError(
            f"{source.where()}dot_product_attention takes a multiple of the {k.shape[2]} heads of the key as heads of "
            f"the query, got {q.shape[2]}."
        )


def _visible(
    sizes: tuple[int, int],
    mask: Any,
    is_causal: bool,
    lengths: list[Any],
    window: int | tuple[int, int] | None,
) -> Any:
    """Which keys (last axis) a query (the axis before) looks at; None for all."""
    rows, columns = np.arange(sizes[0])[:, None], np.arange(sizes[1])
    parts: list[Any] = [] if mask is None else [mask]
    if is_causal:
        parts.append(columns <= rows)
    if window is not None:
        back, ahead = (window, window) if isinstance(window, int) else window
        parts.append((rows <= columns + back) & (rows >= columns - ahead))
    for length, positions in zip(lengths, (rows, columns), strict=True):
        if length is not None:
            parts.append(gnp.asarray(positions.astype(np.int32)) < length[:, None, None, None])
    return functools.reduce(gnp.logical_and, parts) if parts else None
