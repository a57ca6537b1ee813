"""Functions of `numpy.linalg` that are made of factorizations, of one array, and matrices that they are smooth at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """A function of a module and an array, and what it takes.

    Vectors that have no sign of their own are squared. ``of`` is ``"any"`` matrices, ``"square"`` ones, ``"symmetric"``
    or ``"definite"`` ones. ``single`` functions take one matrix. ``some`` are not for matrices without elements.
    """

    function: Callable[[Any, Any], Any]
    of: str
    single: bool = False
    some: bool = False


def _columns(m: Any, x: Any) -> Any:
    """A right side made of the matrix."""
    return m.sin(3 * x[..., :2]) + 1


def _squares(parts: Any) -> Any:
    return [x * x for x in parts]


def _eigh(found: Any) -> Any:
    return [found[0], found[1] * found[1]]


def _svd(found: Any) -> Any:
    return [found[0] * found[0], found[1], found[2] * found[2]]


CASES = {
    "cholesky": Case(lambda m, x: m.linalg.cholesky(x), "definite"),
    "cholesky upper": Case(lambda m, x: m.linalg.cholesky(x, upper=True), "definite"),
    "qr": Case(lambda m, x: _squares(m.linalg.qr(x)), "any"),
    "qr r": Case(lambda m, x: m.linalg.qr(x, "r") ** 2, "any"),
    "eigh": Case(lambda m, x: _eigh(m.linalg.eigh(x)), "symmetric"),
    "eigh U": Case(lambda m, x: _eigh(m.linalg.eigh(x, "U")), "symmetric"),
    "eigvalsh": Case(lambda m, x: m.linalg.eigvalsh(x), "symmetric"),
    "svd": Case(lambda m, x: _svd(m.linalg.svd(x, full_matrices=False)), "any"),
    "svdvals": Case(lambda m, x: m.linalg.svdvals(x), "any"),
    "svd hermitian": Case(lambda m, x: _svd(m.linalg.svd(x, hermitian=True)), "symmetric"),
    "solve": Case(lambda m, x: m.linalg.solve(x, _columns(m, x)), "square"),
    "solve vector": Case(lambda m, x: m.linalg.solve(x, m.cos(x[:, 0])), "square", single=True, some=True),
    "inv": Case(lambda m, x: m.linalg.inv(x), "square"),
    "det": Case(lambda m, x: m.linalg.det(x / 3), "square"),
    "slogdet": Case(lambda m, x: list(m.linalg.slogdet(-x)), "square"),
    "pinv": Case(lambda m, x: m.linalg.pinv(x), "any"),
    "pinv hermitian": Case(lambda m, x: m.linalg.pinv(x + x.swapaxes(-1, -2), hermitian=True), "symmetric"),
    "cond": Case(lambda m, x: m.linalg.cond(x), "any", some=True),
    "cond -2": Case(lambda m, x: m.linalg.cond(x, -2), "any", some=True),
    "cond 1": Case(lambda m, x: m.linalg.cond(x, 1), "square", some=True),
    "cond fro": Case(lambda m, x: m.linalg.cond(x, "fro"), "square", some=True),
    "cond inf": Case(lambda m, x: m.linalg.cond(x, np.inf), "square", some=True),
    "lstsq": Case(lambda m, x: list(m.linalg.lstsq(x, _columns(m, x))[:1]), "any", single=True, some=True),
    "tensorsolve": Case(lambda m, x: m.linalg.tensorsolve(x, x[0] + 1), "square", single=True, some=True),
    "tensorinv": Case(lambda m, x: m.linalg.tensorinv(x, 1), "square", single=True, some=True),
    "norm 2": Case(lambda m, x: m.linalg.matrix_norm(x, ord=2), "any", some=True),
    "norm -2": Case(lambda m, x: m.linalg.matrix_norm(x, ord=-2), "any", some=True),
    "norm nuc": Case(lambda m, x: m.linalg.matrix_norm(x, ord="nuc"), "any", some=True),
    "power -2": Case(lambda m, x: m.linalg.matrix_power(x, -2), "square"),
}
SQUARES = [(0, 0), (1, 1), (3, 3), (17, 17), (33, 33), (2, 3, 3), (2, 1, 4, 4), (0, 3, 3), (2, 0, 0)]
OTHERS = [(5, 3), (3, 5), (33, 2), (2, 17), (0, 3), (3, 0), (2, 5, 1), (2, 0, 3, 2)]


def shapes_of(case: Case) -> list[tuple[int, ...]]:
    """Those of the arrays that a function is tried with."""
    shapes = SQUARES + (OTHERS if case.of == "any" else [])
    shapes = [s for s in shapes if len(s) == 2] if case.single else shapes
    return [s for s in shapes if 0 not in s] if case.some else shapes


def matrices(of: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    """Well-conditioned ones, with singular values and eigenvalues far from each other."""
    rng = np.random.default_rng([seed, *shape])
    m, n = shape[-2:]
    x = rng.normal(size=shape) / np.sqrt(max(m, n, 1)) + np.eye(m, n) * (2 + np.arange(n))
    if of in ("symmetric", "definite"):
        x = (x + np.swapaxes(x, -1, -2)) / 2
    if of == "symmetric":
        x = x * np.where(np.arange(n) % 2, 1.0, -1.0)
        x = (x + np.swapaxes(x, -1, -2)) / 2
    return x
