"""Write ``docs/coverage.md``: which public names of JAX's modules graphad has, and what is known of each.

Run it from the checkout, with JAX installed, after adding a name: ``python docs/make_coverage.py``. What the table
says is found by running the example in each function's docstring, differentiating those calls of the function that have
floating-point arguments, and looking up the primitives that ran in the registry. What is tested is found by name.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "coverage.md"
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

import jax  # noqa: E402

import graphad  # noqa: E402
import graphad.numpy as gnp  # noqa: E402
from graphad.ir.primitive import Primitive  # noqa: E402
from graphad.numpy._dtypes import ScalarType  # noqa: E402
from graphad.trace.array import Array  # noqa: E402
from graphad.trace.pytree import flatten, unflatten  # noqa: E402
from graphad.trace.recording import state  # noqa: E402
from tests.parity.expressions import CHECKED, called  # noqa: E402

#: How the tests call each module.
ALIASES = {
    "numpy": "gnp|jnp",
    "numpy.linalg": r"gnp\.linalg|jnp\.linalg",
    "lax": "lax",
    "lax.linalg": r"lax\.linalg|m",
    "nn": "nn",
    "random": "random|graphad.random|ga.random",
    "scipy.linalg": r"ours|scipy\.linalg",
    "scipy.sparse.linalg": r"scipy\.sparse\.linalg",
}
#: Tests whose ``np`` or ``m`` is either library, and those that look functions up by the words of a text.
EITHER = (
    "cases.py", "cases_everyday.py", "test_special.py", "test_structural.py", "test_windows.py", "corpus.py",
    "test_linalg.py", "factorization_cases.py",
)  # fmt: skip
BY_WORD = {
    "numpy": ("cases.py", "cases_everyday.py", "test_special.py"),
    "lax": ("test_lax.py", "test_collectives.py", "test_special.py"),
    "nn": ("test_nn.py", "test_nn_layers.py"),
    "random": ("test_random.py", "test_random_distributions.py"),
}

#: Why a name is absent: the first pattern that fits it whole, behind the name of its module.
REASONS = (
    (r".*linalg\.(dft|eig|eigvals|rsf2csf)", "complex numbers come later"),
    (r".*linalg\.tridiagonal", "write eigh"),
    (r".*linalg\.(ormqr|qr_multiply)", "multiply by what qr gives"),
    (r"lax\.linalg\.qdwh", "write scipy.linalg.polar"),
    (r"lax\.linalg\.(\w+Implementation|SvdAlgorithm)", "each factorization has one method"),
    (r"c(omplex|double|single).*|ComplexWarning|sort_complex|conj|real|imag", "complex numbers come later"),
    (r"fft|FftType", "Fourier transforms come later"),
    (r"(u?int|float)\d+(_\w+)?", "types of few bits"),
    (r"u?int_?|float_", "an alias whose width depends on a switch: write int or float"),
    (r"unique.*|intersect1d|set\w+1d|union1d|trim_zeros", "the shape of the result depends on values"),
    (r"poly(fit|gamma)|roots|linalg", "linear algebra and solvers come later"),
    (r"i0|kaiser|bessel.*|betainc|\w*gammac?|igamma.*|random_gamma_grad|zeta", "special functions come later"),
    (r"cond|scan|while_loop|fori_loop|switch|map|associative_scan", "structured control flow comes later"),
    (r"all_gather\w*|all_to_all\w*|ragged_all.*|axis_\w+|with_sharding_constraint", "several devices"),
    (r"psum\w*|p(broadcast|cast|recv|send)", "several devices"),
    (r"ufunc|frompyfunc|fromfile|(un)?packbits", "NumPy's own: use NumPy"),
    (r".*_p", "a primitive of JAX's own"),
    (r"gather|scatter\w*|GatherScatterMode|.*DimensionNumbers", "write x[i] and x.at[i]"),
    (r"[A-Z]\w*|.*_shape_tuple|.*_permutations|approx.*|scaled.*|get_scaled.*|rng_.*|clone", "belongs to XLA"),
    (r".*token|after_all|stage|composite|platform_dependent|shape_as_value|dce_sink|key_\w+", "belongs to XLA"),
    (r"optimization_barrier", "belongs to XLA"),
)


@contextmanager
def recording() -> Iterator[set[Primitive]]:
    """The primitives that are evaluated in the meantime."""
    seen: set[Primitive] = set()
    original = Primitive.evaluate

    def evaluate(self: Primitive, *args: Any) -> Any:
        seen.add(self)
        return original(self, *args)

    Primitive.evaluate = evaluate
    try:
        yield seen
    finally:
        Primitive.evaluate = original


class Floating:
    """`graphad.numpy` whose first ``count`` arrays of integers are made floats, to ask for derivatives."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __getattr__(self, name: str) -> Any:
        found = getattr(gnp, name)
        return self.floating(found) if name in ("array", "arange", "asarray") else found

    def floating(self, make: Callable[..., Array]) -> Callable[..., Array]:
        def made(*args: Any, **kwargs: Any) -> Array:
            result = make(*args, **kwargs)
            if result.dtype.kind != "i" or not self.left:
                return result
            self.left -= 1
            return result.astype(float)

        return made


X, K = gnp.array([[0.5, 0.25], [0.75, 0.5]]), gnp.array([[1, 2], [3, 4]])
#: Arguments to try where a docstring has no example.
PROBES = ((X,), (X, X), (X, X, X), (X, (0,)), (X, 0), (X, 2), (X > 1, X, X), (K,), (K, K), (X > 1, (0,)))


class Watched:
    """A function that keeps what it gets and gives."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.axes: list[tuple[tuple[str, int], ...]] = []
        self.results: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.function(*args, **kwargs)
        self.calls.append((args, kwargs))
        self.axes.append(state.axes)
        self.results.append(result)
        return result

    def is_differentiable(self) -> bool:
        """Whether a call has a result that is a float, and an argument that is one and need not be known."""
        for call, axes, result in zip(self.calls, self.axes, self.results, strict=True):
            if any([is_floating(y) for y in flatten(result)[0]]):
                leaves, treedef = flatten(call)
                floats = [k for k, x in enumerate(leaves) if is_floating(x) or isinstance(x, float)]
                if any([self.takes_tangent(leaves, treedef, k, axes) for k in floats]):
                    return True
        return False

    def takes_tangent(self, leaves: list[Any], treedef: Any, k: int, axes: tuple[tuple[str, int], ...]) -> bool:
        """Whether it can be differentiated by one leaf of its arguments, within the named batch axes of the call."""

        def f(x: Array) -> Any:
            args, kwargs = unflatten(treedef, [*leaves[:k], x, *leaves[k + 1 :]])
            return self.function(*args, **kwargs)

        x = gnp.ones_like(leaves[k]) if axes else gnp.asarray(leaves[k])
        derivative = partial(graphad.jvp, f, (x,), (gnp.ones_like(x),))
        for name, size in axes:
            derivative = graphad.vmap(derivative, axis_name=name, axis_size=size)
        try:
            derivative()
        except (TypeError, ValueError):  # it must know the leaf
            return False
        return True


def is_floating(x: Any) -> bool:
    """Whether it is an array of floats."""
    return isinstance(x, Array) and np.dtype(x.dtype).kind == "f"


def run_example(module: ModuleType, watched: Watched, count: int) -> bool:
    """Run the example in the docstring, which uses a name of the function; whether `Floating` made anything a float."""
    function: Any = watched.function
    called = [name for name in dir(module) if getattr(module, name) is function]
    places = [(place, name) for place in {module, gnp} for name in called if getattr(place, name, None) is function]
    for place, name in places:
        setattr(place, name, watched)
    floating: list[Floating] = []
    try:
        names: dict[str, Any] = dict(vars(module))
        for example in doctest.DocTestParser().get_examples(function.__doc__):
            exec(example.source, names)
            names |= dict.fromkeys(called, watched)
            if "gnp" in names:
                names["gnp"] = Floating(count)
                floating.append(names["gnp"])
    finally:
        for place, name in places:
            setattr(place, name, function)
    return any([made.left < count for made in floating])


def runs(module: ModuleType, function: Any) -> Iterator[tuple[set[Primitive], Watched]]:
    """What ran, and came out: of the example with all arrays floating, with the first, as it stands; then of probes."""
    examples = (99, 1, 0) if ">>>" in (function.__doc__ or "") else ()
    as_it_stands = False
    for trial in (*examples, *PROBES):
        if as_it_stands and isinstance(trial, int):
            continue  # nothing in the example can be made floating: it has run
        watched = Watched(function)
        try:
            with recording() as seen:
                if isinstance(trial, int):
                    as_it_stands = not run_example(module, watched, trial)
                else:
                    watched(*trial)
        except Exception:  # noqa: BLE001  (it takes other arguments: the next trial has them)
            continue
        yield seen, watched
        if isinstance(trial, tuple) or (as_it_stands and any([getattr(x, "ndim", 1) for x in watched.results])):
            return


def derivatives(module: ModuleType, name: str) -> tuple[str, str]:
    """Of what order a function has derivatives, and whether it is compiled."""
    function = getattr(module, name)
    if not callable(function) or isinstance(function, (type, ScalarType)):
        return "", ""
    ran: set[Primitive] = set()
    for seen, watched in runs(module, function):
        ran |= seen
        if any([callable(x) and not isinstance(x, Array) for x in watched.results]):
            return "as the function", "as the function"
        if watched.is_differentiable():
            return "any", compiled(ran)
    return "none", compiled(ran)


def compiled(ran: set[Primitive]) -> str:
    """Whether all primitives that ran are lowered."""
    if not ran:
        return "constant"
    return "yes" if all([p.lowering or p.region_rules for p in ran]) else "no"


def mentions(module: str) -> set[str]:
    """The functions of a module that the tests name: called, in a case table, or as a word where tests use getattr."""
    found: set[str] = set()
    for path in sorted((ROOT / "tests").glob("**/*.py")):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(rf"\b(?:{ALIASES[module]})\.(\w+)", text))
        if module.startswith("numpy") and path.name in EITHER:
            within = module.removeprefix("numpy").removeprefix(".")
            found |= set(re.findall(rf"\b(?:np|m)\.{within and within + '.'}(\w+)", text))
        for imported in re.findall(rf"from graphad\.{module} import ([\w, ]+)", text):
            found |= set(imported.split(", "))
        if path.name in BY_WORD.get(module, ()):
            strings = [x.value for x in ast.walk(ast.parse(text)) if isinstance(x, ast.Constant)]
            found |= {word for x in strings if isinstance(x, str) for word in re.findall(r"\w+", x)}
    return found


def checked(module: ModuleType) -> set[str]:
    """The functions of a module whose derivatives are held against differences, under all their names."""
    short = module.__name__.removeprefix("graphad.")
    names = called(re.sub(r"^numpy\b", "np", short), CHECKED)
    functions = [getattr(module, name) for name in names if hasattr(module, name)]
    return {name for name in public(module) if any([getattr(module, name) is f for f in functions])}


def public(module: ModuleType) -> list[str]:
    """The names of a module that are its own."""
    return sorted([name for name in dir(module) if not name.startswith("_")])


def reason(module: str, name: str) -> str:
    """Why a name is absent."""
    full = f"{module}.{name}"
    return next(
        (why for pattern, why in REASONS if re.fullmatch(pattern, name) or re.fullmatch(pattern, full)), "not yet"
    )


def section(module: str) -> tuple[str, str]:
    """The table of one module, and its line in the summary."""
    theirs = public(importlib.import_module(f"jax.{module}"))
    ours = importlib.import_module(f"graphad.{module}")
    named, twice = mentions(module), checked(ours)
    rows: list[str] = []
    absent: dict[str, list[str]] = {}
    tested = 0
    for name in theirs:
        if not hasattr(ours, name):
            absent.setdefault(reason(module, name), []).append(name)
            continue
        order, compiled = derivatives(ours, name)
        order = "2" if order == "any" and name in twice else order
        tested += name in named
        rows.append(f"| `{name}` | {'yes' if name in named else ''} | {order} | {compiled} |")
    lines = [f"## `graphad.{module}`", "", "| name | tested | derivatives | compiled |", "|---|---|---|---|", *rows, ""]
    for why in sorted(absent):
        lines += [f"Absent, {why}: {', '.join([f'`{name}`' for name in absent[why]])}.", ""]
    present = len(rows)
    return "\n".join(lines), f"| `graphad.{module}` | {present} of {len(theirs)} | {tested} |"


def table() -> str:
    """The whole file."""
    modules = [section(module) for module in ALIASES]
    head = f"""# Coverage of JAX's names

Made by `docs/make_coverage.py` against jax {jax.__version__}; do not edit. *Tested*: the tests call it by name.
*Derivatives*: they exist to every order; the number is the order to which `check_grads` compares them, in forward and
reverse mode, with differences, *any* where there is nothing to compare; *none* of integers, comparisons, questions, and
functions that have no floating-point argument or must know it.
*Compiled*: every primitive that its example runs has a lowering; `constant` where there is nothing to run.

| module | names | tested by name |
|---|---|---|
"""
    return head + "\n".join([line for _, line in modules]) + "\n\n" + "\n".join([text for text, _ in modules])


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
