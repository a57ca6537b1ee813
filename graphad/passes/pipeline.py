"""Passes and pipelines.

A pass is a pure function from graph to graph: a frozen dataclass, registered by name, whose fields are its options. A
pipeline is a tuple of passes; its text form is ``simplify{fast_math=True},inline``.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, get_type_hints

import numpy as np

from graphad.config import config
from graphad.errors import DifferentiationError, ParseError, VerifyError, did_you_mean
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Graph
from graphad.ir.text import format_graph
from graphad.ir.types import Aval
from graphad.ir.verify import verify, verify_effects
from graphad.primitives.callbacks import calls_the_host

Pipeline = tuple["Pass", ...]
OnStep = Callable[["Pass", Graph, Graph], None]
#: Told, by passes over loops, what becomes of each loop, or what was in the way.
OnNote = Callable[[str], None]

PASSES: Final[dict[str, type[Pass]]] = {}
P = TypeVar("P", bound="Pass")


class Pass:
    """A pure map from graph to graph: same inputs, outputs and effects. Subclasses are frozen dataclasses."""

    name: str

    def run(self, graph: Graph) -> Graph:
        """The new graph."""
        raise TypeError(f"{type(self).__name__} does not say what it does: define run(graph) -> Graph")

    def __str__(self) -> str:
        """Its text in a pipeline: the name, and the options that are not at their defaults."""
        fields = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        options = [f"{f.name}={getattr(self, f.name)!r}" for f in fields if getattr(self, f.name) != f.default]
        return f"{self.name}{{{', '.join(options)}}}" if options else self.name


def graph_pass(name: str) -> Callable[[type[P]], type[P]]:
    """Register a frozen dataclass as the pass ``name``."""

    def register(cls: type[P]) -> type[P]:
        if name in PASSES:
            raise ValueError(f"pass {name} is registered twice")
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"pass {name}: {cls.__name__} must be a frozen dataclass")
        cls.name = name
        PASSES[name] = cls
        return cls

    return register


# ---------------------------------------------------------------------------------------------------------------------
# Text

_ITEM: Final = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:\{([^{}]*)\})?\s*")


def format_pipeline(pipeline: Sequence[Pass]) -> str:
    """The text of a pipeline.

    >>> format_pipeline(parse_pipeline("inline{custom=False}, simplify{fast_math=True}"))
    'inline,simplify{fast_math=True}'
    """
    return ",".join(map(str, pipeline))


def parse_pipeline(text: str) -> Pipeline:
    """Read ``name{option=value, ...},name,...``.

    Raises
    ------
    ParseError
        The text does not follow the grammar, or names a pass or an option that there is not.
    """
    passes: list[Pass] = []
    pos = 0
    while text.strip():
        found = _ITEM.match(text, pos)
        if found is None:
            raise _error(text, pos, "expected a pass: name, or name{option=value, ...}")
        name, options = found.groups()
        if name not in PASSES:
            raise _error(text, found.start(1), f"there is no pass {name}. {did_you_mean(name, PASSES)}")
        try:
            passes.append(_configured(PASSES[name], options or ""))
        except ValueError as e:
            raise _error(text, found.start(1), str(e)) from None
        pos = found.end()
        if pos == len(text):
            break
        if text[pos] != ",":
            raise _error(text, pos, "expected , or the end")
        pos += 1
    return tuple(passes)


def _error(text: str, pos: int, message: str) -> ParseError:
    return ParseError(f"pipeline, column {pos + 1}: {message}\n  {text}\n  {' ' * pos}^")


def _configured(cls: type[Pass], text: str) -> Pass:
    """The pass with the options in ``text``, each a Python literal of its field's type."""
    types = get_type_hints(cls)
    fields = [f.name for f in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        options = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise ValueError(f"{{{text}}} are no options; write {{name=value, ...}}") from None
    if call.args:
        raise ValueError(f"{{{text}}}: options have names; write {{name=value, ...}}")
    for name, value in options.items():
        if name not in fields:
            known = did_you_mean(name, fields) if fields else "It has none."
            raise ValueError(f"{cls.name} has no option {name}. {known}")
        # isinstance would take True for an int
        if not isinstance(value, types[name]) or (isinstance(value, bool) and types[name] is int):
            raise ValueError(f"{cls.name}: {name} is of type {types[name]}, got {value!r}")
    return cls(**options)


# ---------------------------------------------------------------------------------------------------------------------
# Running


def run(
    graph: Graph,
    pipeline: Sequence[Pass] | str,
    on_step: OnStep | None = None,
    level: int | None = None,
) -> Graph:
    """Apply the passes of a pipeline one after the other.

    Parameters
    ----------
    graph
        What to transform.
    pipeline
        Passes, or the text of a pipeline.
    on_step
        Called after every pass with the pass, the graph before and the graph after.
    level
        0: check nothing. 1: verify the result. 2: verify the graph and the result of every pass; the first and the last
        make a round trip through text. 3: every result does, and graphs are evaluated before and after every pass and
        compared. By default ``config.verify``.
    """
    passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else tuple(pipeline)
    level = config.verify if level is None else level
    if level >= 2 or not passes:
        verify(graph, level)
    for number, p in enumerate(passes):
        before, graph = graph, p.run(graph)
        last = number == len(passes) - 1
        if level >= 2 or (level == 1 and last):
            _check_step(p, before, graph, 1 if level == 2 and not last else level)
        if on_step is not None:
            on_step(p, before, graph)
    return graph


def applied(graph: Graph, pipeline: str) -> Graph:
    """`run`, once for a graph and the text of a pipeline."""
    return graph.memoize(("passes", pipeline), lambda: run(graph, pipeline)) if pipeline else graph


def _check_step(p: Pass, before: Graph, after: Graph, level: int) -> None:
    try:
        verify(after, level)
        verify_effects(before, after)
        if (before.in_avals, before.out_avals, before.weak) != (after.in_avals, after.out_avals, after.weak):
            raise VerifyError(f"inputs or outputs changed their types:\n{format_graph(before)}\n{format_graph(after)}")
        if level >= 3:
            compare(before, after)
    except VerifyError as e:
        raise VerifyError(f"after the pass {p}: {e}") from e


def compare(before: Graph, after: Graph, seed: int = 0) -> None:
    """Evaluate two graphs on the same random inputs and raise a `VerifyError` where they differ.

    Sums may be in another order and constants folded, so floats may differ in their last bits. Functions of the user's
    are not called with numbers that are nobody's: graphs with callbacks are not compared.
    """
    if calls_the_host(before):
        return
    rng = np.random.default_rng(seed)
    args = [random_array(rng, a) for a in before.in_avals]
    try:
        expected, got = evaluate(before, args), evaluate(after, args)
    except DifferentiationError:  # a linear map that is yet to be transposed has no values
        return
    for k, (e, g) in enumerate(zip(expected, got, strict=True)):
        if not _close(e, g):
            raise VerifyError(f"output {k} was\n{e}\nand is now\n{g}\n{format_graph(before)}\n{format_graph(after)}")


def random_array(rng: np.random.Generator, a: Aval) -> np.ndarray[Any, Any]:
    """A random array of type ``a``: normal floats, small integers."""
    if a.dtype.is_float:
        return np.asarray(rng.normal(size=a.shape)).astype(a.dtype.numpy)
    return np.asarray(rng.integers(0, 2 if a.dtype.kind == "b" else 8, size=a.shape)).astype(a.dtype.numpy)


def _close(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> bool:
    if x.dtype.kind in "biu":
        return bool(np.array_equal(x, y))
    tolerance = {2: 0.05, 4: 1e-4, 8: 1e-9}[x.dtype.itemsize]
    x, y = x.astype(np.float64), y.astype(np.float64)
    finite = np.abs(x[np.isfinite(x)])
    scale = max(1.0, float(np.max(finite))) if finite.size else 1.0
    return bool(np.allclose(x, y, rtol=tolerance, atol=tolerance * scale, equal_nan=True))
