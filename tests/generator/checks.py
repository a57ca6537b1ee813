"""What must agree on a random program, and how far apart rounding can bring it.

The reference is NumPy in long double. How far rounding can carry a result is found by running it again with every
rounded result moved by the ulps that its operation may be off; a result that falls to another side of an edge in one of
these runs is compared with nothing. Derivatives are compared with differences of the reference, with each other, and
with JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import jax
import numpy as np

import graphad
import graphad.numpy as gnp
from tests.generator.programs import Program, random_program
from tests.generator.spaces import Graphad, Jax, Reference

Results = Sequence[Any]
STEP = np.longdouble(1e-5)


class Difference(AssertionError):
    """Two ways of running a program that differ by more than rounding."""


def values(program: Program) -> None:
    """Eager and compiled against the reference; compiled code is called with other arguments too."""
    spread = Spread(program)
    function = program.function(Graphad(program.dtype))
    compiled = graphad.jit(function)
    spread.compare("eager", function(*[gnp.asarray(x) for x in program.arguments]))
    spread.compare("jit", compiled(*program.arguments))
    others = [x if x.dtype.kind == "i" else -x for x in program.arguments]
    Spread(program, others).compare("jit, called again", compiled(*others))


def batches(program: Program) -> None:
    """A batch against its elements one by one, compiled as well."""
    if not program.batches:
        return
    elements = [program.arguments, *[_shuffled(program, k) for k in (1, 2)]]
    spreads = [Spread(program, element) for element in elements]
    function = program.function(Graphad(program.dtype))
    stacked = [np.stack(xs) for xs in zip(*elements, strict=True)]
    for name, run in (("vmap", graphad.vmap(function)), ("jit(vmap)", graphad.jit(graphad.vmap(function)))):
        results = run(*stacked)
        for k, spread in enumerate(spreads):
            spread.compare(f"{name}, element {k}", [np.asarray(r)[k] for r in results])


def gradients(program: Program) -> None:
    """Reverse and forward mode, eager and compiled, against differences of the reference and JAX; float32 too."""
    loss = _loss(program, Graphad(program.dtype))
    wanted = tuple(k for k, x in enumerate(program.arguments) if x.dtype.kind == "f")
    eager = graphad.grad(loss, wanted)(*program.arguments)
    compiled = graphad.jit(graphad.grad(loss, wanted))(*program.arguments)
    scale = _scale(eager)
    _alike(compiled, eager, "jit(grad) and grad", 1e-11 * scale)
    along = _directions(program)
    slope = sum(np.sum(np.asarray(g) * along[k]) for g, k in zip(eager, wanted, strict=True))
    found = _difference(_loss(program, Reference("float64")), program.arguments, along)
    _alike(found, slope, "grad and differences", 1e-6 * scale)
    if program.forward:
        _alike(graphad.jvp(loss, program.arguments, tuple(along))[1], slope, "jvp and grad", 1e-11 * scale)
    narrow = [x.astype(np.float32) for x in program.arguments]
    exact = graphad.grad(loss, wanted)(*[x.astype(np.float64) for x in narrow])
    low = graphad.jit(graphad.grad(_loss(program, Graphad("float32")), wanted))(*narrow)
    _alike(low, exact, "grad in float32", 2e-4 * _scale(exact))


def with_jax(program: Program) -> None:
    """Value and gradient against JAX."""
    with jax.enable_x64(True):
        loss = _loss(program, Jax("float64"))
        value, slopes = jax.value_and_grad(loss, tuple(range(len(program.arguments))))(*program.arguments)
    ours = graphad.value_and_grad(_loss(program, Graphad("float64")), tuple(range(len(program.arguments))))
    got, found = ours(*program.arguments)
    _alike([got], [np.asarray(value)], "value and JAX's", 1e-11 * _scale([value]))
    _alike(found, [np.asarray(s) for s in slopes], "grad and JAX's", 1e-10 * _scale(slopes))


def second_derivatives(program: Program) -> None:
    """The Hessian times a direction, eager and compiled, forward over reverse and reverse over reverse."""
    gradient = graphad.grad(_loss(program, Graphad("float64")), tuple(range(len(program.arguments))))
    along = tuple(np.asarray(v) for v in _directions(program))
    for run in (_eager, graphad.jit):
        compare_second(gradient, program.arguments, along, run)


def _eager(f: Callable[..., Any]) -> Callable[..., Any]:
    return f


def compare_second(
    gradient: Callable[..., Any], points: Sequence[Any], along: Sequence[Any], run: Callable[..., Any]
) -> None:
    """The Hessian times a direction in three ways; ``run`` is what their functions go through, as `jit`."""
    expected = differences(lambda *xs: [np.asarray(g) for g in gradient(*xs)], points, along, 1e-5)
    scale = _scale(expected) + _scale(gradient(*points))

    def forward(*xs: Any) -> Any:
        return graphad.jvp(gradient, xs, along)[1]

    def reverse(*xs: Any) -> Any:
        def slope(*ys: Any) -> Any:
            return sum((g * v).sum() for g, v in zip(gradient(*ys), along, strict=True))

        return graphad.grad(slope, tuple(range(len(xs))))(*xs)

    found = run(forward)(*points)
    _alike(found, expected, "second derivatives and differences", 1e-5 * scale)
    _alike(run(reverse)(*points), found, "reverse over reverse and forward over reverse", 1e-10 * scale)


def gradients_of_batches(program: Program) -> None:
    """Gradients of a batch against those of its elements."""
    if not program.batches:
        return
    elements = [program.arguments, _shuffled(program, 1)]
    gradient = graphad.grad(_loss(program, Graphad(program.dtype)), tuple(range(len(program.arguments))))
    together = graphad.jit(graphad.vmap(gradient))(*[np.stack(xs) for xs in zip(*elements, strict=True)])
    for k, element in enumerate(elements):
        one = gradient(*element)
        _alike([np.asarray(g)[k] for g in together], one, f"vmap(grad), element {k}", 1e-11 * _scale(one))


ROUGH: tuple[Callable[[Program], None], ...] = (values, values, values, batches)
SMOOTH: tuple[Callable[[Program], None], ...] = (
    gradients,
    gradients,
    gradients_of_batches,
    second_derivatives,
    with_jax,
)


def check(seed: int) -> None:
    """One comparison of one program, both chosen by the seed.

    Raises
    ------
    Difference
        The message has the smallest program found that differs, its arguments, and what differs.
    """
    compare = Random(seed).choice((*ROUGH, *SMOOTH))
    program = random_program(seed, smooth=compare in SMOOTH)
    error = _outcome(compare, program)
    if error is None:
        return
    program, error = _smallest(compare, program, error)
    raise Difference(
        f"seed {seed}, {compare.__name__}: {type(error).__name__}: {error}\n{program.source}dtype {program.dtype}, "
        f"arguments {[x.tolist() for x in program.arguments]}"
    ) from error


def _outcome(compare: Callable[[Program], None], program: Program) -> Exception | None:
    try:
        with np.errstate(all="ignore"):
            compare(program)
    except Exception as error:  # noqa: BLE001 - a crash of a program is a finding too
        return error
    return None


def _smallest(compare: Callable[[Program], None], program: Program, error: Exception) -> tuple[Program, Exception]:
    while True:
        for candidate in program.smaller():
            found = _outcome(compare, candidate)
            if type(found) is type(error):
                program, error = candidate, found
                break
        else:
            return program, error


# ---------------------------------------------------------------------------------------------------------------------
# Values


class Spread:
    """The results of the reference, and how far rounding can carry them."""

    space: type[Reference] = Reference

    def __init__(self, program: Program, arguments: Sequence[Any] | None = None) -> None:
        self.program = program
        self.arguments = program.arguments if arguments is None else arguments
        self.center = self._run(None)
        self.runs = [self._run(seed) for seed in range(3)]

    def _run(self, seed: int | None) -> list[Any]:
        rng = None if seed is None else np.random.default_rng(seed)
        space = self.space(self.program.dtype, rng)
        return list(self.program.function(space)(*[space.rounded(x, 0) for x in self.arguments]))

    def compare(self, name: str, results: Results) -> None:
        differs = self._differs(results)
        edges = any(center.dtype.kind != "f" for center in self.center)  # as of numbers that are equal to the last bit
        for count in (60, 400) if edges else (60,):
            if differs is None:
                return
            self.runs = [self._run(seed) for seed in range(count)]  # no run has fallen to the other side of an edge
            differs = self._differs(results)
        if differs is not None:
            raise Difference(f"{name} and the reference: {differs}")

    def _differs(self, results: Results) -> str | None:
        for k, result in enumerate(results):
            runs = [r[k] for r in self.runs]
            got, center = np.asarray(result), self.center[k]
            if got.shape != center.shape:
                return f"result {k} has shape {got.shape}, not {center.shape}"
            expected = {"f": np.dtype(self.program.dtype), "b": np.dtype(bool)}.get(
                center.dtype.kind, np.dtype("int32")
            )
            if got.dtype != expected:
                return f"result {k} has dtype {got.dtype}, not {expected}"
            wrong = self._wrong(got, center, runs)
            if wrong.any():
                at = tuple(int(i) for i in np.argwhere(wrong)[0])
                return f"result {k} at {list(at)} is {got[at]!r}, not {center[at].astype(expected)!r}"
        return None

    def _wrong(self, got: Any, center: Any, runs: list[Any]) -> Any:
        if center.dtype.kind != "f":
            steady = np.all([r == center for r in runs], axis=0)
            return steady & (got != center)
        info = np.finfo(np.dtype(self.program.dtype))
        wide = got.astype(np.longdouble)
        finite = np.isfinite(center)
        steady = np.all([_same_kind(r, center) for r in runs], axis=0)
        with np.errstate(all="ignore"):
            away = np.max([np.where(finite, np.abs(r - center), 0) for r in runs], axis=0)
            bound = 4 * away + 4 * info.eps * np.abs(center) + 4 * info.smallest_normal
            near_the_end = finite & (np.abs(center) + bound > info.max)
            far = np.where(finite, ~(np.abs(wide - center) <= bound), ~_same_kind(wide, center))
        return steady & ~near_the_end & far


def _same_kind(x: Any, y: Any) -> Any:
    """Both finite, both nan, or the same infinity."""
    return np.where(np.isfinite(y), np.isfinite(x), (x == y) | (np.isnan(x) & np.isnan(y)))


def _shuffled(program: Program, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(x.ravel()).reshape(x.shape) for x in program.arguments]


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def _loss(program: Program, space: Any) -> Callable[..., Any]:
    """A scalar of all results of the program."""
    function = program.function(space)

    def loss(*args: Any) -> Any:
        return sum(space.sum(space.sin(r + 0.3 * k)) for k, r in enumerate(function(*args), start=1))

    return loss


def _directions(program: Program) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, x.shape) for x in program.arguments]


def differences(f: Callable[..., Sequence[Any]], points: Sequence[Any], along: Sequence[Any], step: Any) -> list[Any]:
    """Derivatives of the results along a direction: central differences with the error of second order cancelled.

    Richardson's extrapolation of two steps, one twice the other.
    """

    def central(h: Any) -> list[Any]:
        above, below = (f(*[x + sign * h * v for x, v in zip(points, along, strict=True)]) for sign in (1, -1))
        return [(a - b) / (2 * h) for a, b in zip(above, below, strict=True)]

    return [(4 * near - far) / 3 for near, far in zip(central(step), central(2 * step), strict=True)]


def _difference(loss: Callable[..., Any], points: Sequence[Any], along: Sequence[Any]) -> float:
    wide = [np.asarray(x).astype(np.longdouble) for x in points]
    return float(differences(lambda *xs: [loss(*xs)], wide, along, STEP)[0])


def _scale(xs: Any) -> float:
    return 1.0 + max((float(np.max(np.abs(np.asarray(x, np.float64)), initial=0)) for x in xs), default=0.0)


def _alike(found: Any, expected: Any, what: str, tolerance: float) -> None:
    pairs = zip(found, expected, strict=True) if isinstance(expected, (tuple, list)) else [(found, expected)]
    for k, (x, y) in enumerate(pairs):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if x.shape != y.shape:
            raise Difference(f"{what}: shapes {x.shape} and {y.shape} of {k}")
        wrong = ~(np.abs(x - y) <= tolerance)
        if wrong.any():
            raise Difference(f"{what}: {k} is {x[wrong][0]} and {y[wrong][0]}, beyond {tolerance:.3g}")
