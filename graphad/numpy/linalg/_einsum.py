"""Einstein summation, two operands at a time in the cheapest order, each step one `dot_general`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from graphad.numpy._index.diagonals import diagonal
from graphad.numpy._precision import in_float32
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.axes import transpose
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.reshaping import expand_dims, reshape
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._products import contract
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, shape_text

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class _Term(NamedTuple):
    """An operand with a letter for each axis."""

    x: Any
    letters: str


#: How to find the order of contractions: a method of opt_einsum, True for its best, False for left to right, or the
#: order itself, as `einsum_path` gives it.
Optimize: TypeAlias = str | bool | Sequence[Sequence[int]]


def einsum(subscripts: Any, /, *operands: Any, optimize: Optimize = "auto") -> Array:
    """The sum of products that ``subscripts`` describes: a letter per axis, summed over unless it is in the output.

    Instead of letters, integers may name the axes: ``einsum(x, [0, 1], y, [1, 2], [0, 2])``.

    Three and more operands are contracted in the order that costs least, by the estimate of opt_einsum (Smith and
    Gray, JOSS 2018).

    >>> import graphad.numpy as gnp
    >>> gnp.einsum("ij,jk->ik", gnp.ones((2, 3)), gnp.ones((3, 2)))
    Array([[3., 3.],
           [3., 3.]], dtype=float32)
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _lettered((subscripts, *operands), "einsum")
    if len(operands) > 2:
        return _of_several(subscripts, *operands, optimize=optimize)
    return _contracted(subscripts, operands, optimize)


def _contracted(subscripts: str, operands: Sequence[ArrayLike], optimize: Optimize) -> Array:
    terms, output, sizes = _terms(subscripts, operands, "einsum")
    path = _path(terms, output, optimize)[0] if len(terms) > 2 else [tuple(range(len(terms)))]
    for positions in path:
        chosen = [terms[k] for k in positions]
        terms = [t for k, t in enumerate(terms) if k not in positions]
        while len(chosen) > 1:
            needed = set(output).union(*[t.letters for t in (*chosen[2:], *terms)])
            chosen[:2] = [_pair(chosen[0], chosen[1], needed)]
        terms += chosen
    return _arranged(_summed(terms[0], set(output)), output, sizes)


@in_float32
def _of_several(subscripts: str, *operands: ArrayLike, optimize: Optimize) -> Array:
    """Products of products: those between would be rounded."""
    return _contracted(subscripts, operands, optimize)


def einsum_path(subscripts: Any, /, *operands: Any, optimize: Optimize = "auto") -> tuple[list[tuple[int, ...]], Any]:
    """The order in which `einsum` contracts its operands, and opt_einsum's account of what it costs.

    Each step names the operands contracted by their positions; the result is put behind those that remain.

    >>> import graphad.numpy as gnp
    >>> x, y, z = gnp.ones((2, 90)), gnp.ones((90, 90)), gnp.ones((90, 2))
    >>> gnp.einsum_path("ij,jk,kl->il", x, y, z)[0]
    [(0, 1), (0, 1)]
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _lettered((subscripts, *operands), "einsum_path")
    terms, output, _ = _terms(subscripts, operands, "einsum_path")
    return _path(terms, output, optimize)


def _terms(subscripts: str, operands: Sequence[ArrayLike], name: str) -> tuple[list[_Term], str, dict[str, int]]:
    xs = [as_operand(x, name) for x in operands]
    inputs, output = _parse(subscripts, xs)
    sizes = _sizes(subscripts, inputs, xs)
    return [_squeezed(_Term(x, letters), sizes) for x, letters in zip(xs, inputs, strict=True)], output, sizes


def _lettered(arguments: Sequence[Any], name: str) -> tuple[str, tuple[Any, ...]]:
    """Operands, each with the integers of its axes behind it, as subscripts in letters of the same order."""
    count = len(arguments) // 2
    named = [*arguments[1 : 2 * count : 2], *arguments[2 * count :]]
    if not count or not all([isinstance(axes, (list, tuple)) for axes in named]):
        raise TypeError(
            f"{source.where()}{name} takes subscripts as text first, such as 'ij,jk->ik', or a list of integers behind "
            f"each operand; got {arguments[0]!r}."
        )
    try:
        rows = [[k if k is Ellipsis else operator.index(k) for k in axes] for axes in named]
    except TypeError:
        raise TypeError(f"{source.where()}{name} names axes by integers and ..., got {named}.") from None
    known = sorted({k for axes in rows for k in axes if k is not Ellipsis})
    if len(known) > len(_LETTERS):
        raise ValueError(f"{source.where()}{name} got {len(known)} names of axes; it can tell {len(_LETTERS)} apart.")
    letters: dict[Any, str] = dict(zip(known, sorted(_LETTERS), strict=False)) | {Ellipsis: "..."}
    texts = ["".join([letters[k] for k in axes]) for axes in rows]
    return ",".join(texts[:count]) + "".join([f"->{text}" for text in texts[count:]]), tuple(arguments[: 2 * count : 2])


def _path(terms: list[_Term], output: str, optimize: Optimize) -> tuple[list[tuple[int, ...]], Any]:
    import opt_einsum  # late: most programs have no product of three

    known = "".join([t.letters for t in terms])
    equation = ",".join([t.letters for t in terms]) + "->" + "".join([c for c in output if c in known])
    shapes = [t.x.shape for t in terms]
    path, info = opt_einsum.contract_path(equation, *shapes, shapes=True, optimize=optimize)  # pyright: ignore
    return [tuple(step) for step in path], info


def _parse(subscripts: str, xs: Sequence[Any]) -> tuple[list[str], str]:
    """The letters of each operand and of the output, every ellipsis spelled out."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(xs):
        raise ValueError(f"{source.where()}einsum {subscripts!r} describes {len(inputs)} operands, got {len(xs)}.")
    free = [c for c in _LETTERS if c not in text]
    dots = ""
    for k, (term, x) in enumerate(zip(inputs, xs, strict=True)):
        named = term.replace("...", "")
        hidden = x.ndim - len(named)
        if any([c not in _LETTERS for c in named]) or hidden < 0 or (hidden and "..." not in term):
            raise ValueError(
                f"{source.where()}einsum {subscripts!r}: {term!r} does not describe {shape_text(x)}. "
                "Write one letter for each axis, or '...' for the rest."
            )
        spelled = "".join(free[len(free) - hidden :]) if hidden else ""
        dots = max(dots, spelled, key=len)
        inputs[k] = term.replace("...", spelled)
    if not arrow:
        every = "".join(inputs)
        output = "..." + "".join(sorted([c for c in set(every) if every.count(c) == 1 and c not in dots]))
    output = output.replace("...", dots)
    unknown = [c for c in output if c not in "".join(inputs) or output.count(c) > 1]
    if unknown:
        raise ValueError(
            f"{source.where()}einsum {subscripts!r}: {unknown[0]!r} of the output must be in an operand, "
            "and only once in the output."
        )
    return inputs, output


def _sizes(subscripts: str, inputs: list[str], xs: Sequence[Any]) -> dict[str, int]:
    """The size that each letter stands for; axes of size 1 are repeated."""
    sizes: dict[str, int] = {}
    for letters, x in zip(inputs, xs, strict=True):
        for c, n in zip(letters, x.shape, strict=True):
            if sizes.setdefault(c, n) == 1:
                sizes[c] = n
            elif n not in (1, sizes[c]):
                shown = ", ".join([shape_text(x) for x in xs])
                raise ValueError(
                    f"{source.where()}einsum {subscripts!r} got {shown}: {c!r} stands for size {sizes[c]} and for {n}."
                )
    return sizes


def _squeezed(term: _Term, sizes: dict[str, int]) -> _Term:
    """Without axes of size 1 that are repeated elsewhere, and with repeated letters taken along the diagonal."""
    x, letters = term
    kept = [k for k, c in enumerate(letters) if x.shape[k] == sizes[c]]
    x, letters = reshape(x, [x.shape[k] for k in kept]), "".join([letters[k] for k in kept])
    for c in sorted(set(letters)):
        while letters.count(c) > 1:
            first = letters.index(c)
            second = letters.index(c, first + 1)
            x = diagonal(x, axis1=first, axis2=second)
            letters = letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + c
    return _Term(x, letters)


def _summed(term: _Term, needed: set[str]) -> _Term:
    """Without the axes that nobody needs any more."""
    axes = tuple([k for k, c in enumerate(term.letters) if c not in needed])
    if not axes:
        return term
    dtype = None if term.x.dtype == bool else term.x.dtype  # that of the operands, as in a product
    return _Term(sum_(term.x, axes, dtype), "".join([c for c in term.letters if c in needed]))


def _pair(left: _Term, right: _Term, needed: set[str]) -> _Term:
    left, right = _summed(left, needed | set(right.letters)), _summed(right, needed | set(left.letters))
    shared = [c for c in left.letters if c in right.letters]
    batch, summed = [c for c in shared if c in needed], [c for c in shared if c not in needed]

    def axes(term: _Term, letters: list[str]) -> tuple[int, ...]:
        return tuple([term.letters.index(c) for c in letters])

    product = contract(left.x, right.x, axes(left, summed), axes(right, summed), axes(left, batch), axes(right, batch))
    free = [c for term in (left, right) for c in term.letters if c not in shared]
    return _Term(product, "".join(batch + free))


def _arranged(term: _Term, output: str, sizes: dict[str, int]) -> Any:
    """The axes in the order of the output, those that all operands had with size 1 only put in again."""
    have = [c for c in output if c in term.letters]
    x = transpose(term.x, [term.letters.index(c) for c in have])
    missing = [k for k, c in enumerate(output) if c not in have]
    return broadcast_to(expand_dims(x, missing), [sizes[c] for c in output]) if missing else x
