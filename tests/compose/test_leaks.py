"""Tracers that outlive their trace."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import TracerLeakError
from tests.compose.tools import close

LEAKED = "test_leaks.py:[0-9]+.*outlived the trace of keep.*test_leaks.py:{line}"


def leak(transform=graphad.grad):
    kept = []

    def keep(x):
        kept.append(x * 3.0)
        return x * 2.0

    transform(keep)(1.0)
    return kept[0], keep.__code__.co_firstlineno + 1


USES = {
    "arithmetic": lambda t: t * 2.0,
    "reflected": lambda t: 2.0 - t,
    "function": gnp.sin,
    "with an array": lambda t: gnp.ones(3) + t,
    "inside grad": lambda t: graphad.grad(lambda y: y * t)(1.0),
    "inside jit": lambda t: graphad.jit(lambda y: y * t)(1.0),
    "inside vmap": lambda t: graphad.vmap(lambda y: y * t)(gnp.ones(2)),
    "comparison": lambda t: t > 0,
    "bool": bool,
    "int": int,
    "indexing": lambda t: t[None],
    "as an argument of grad": lambda t: graphad.grad(lambda y: y * 1.0)(t),
    "as an argument of jit": lambda t: graphad.jit(lambda y: y * 1.0)(t),
    "as a result": lambda t: graphad.jit(lambda: t)(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("transform", [graphad.grad, graphad.jit], ids=["grad", "jit"])
def test_any_use_names_the_line_where_it_was_made(transform, use):
    tracer, line = leak(transform)
    with pytest.raises(TracerLeakError, match=LEAKED.format(line=line)):
        use(tracer)


def test_a_leaked_argument():
    kept = []
    graphad.grad(lambda x: (kept.append(x), x * 2.0)[1])(1.0)
    with pytest.raises(TracerLeakError, match="an argument or captured value of it"):
        kept[0] * 2.0


def test_from_an_inner_to_an_outer_trace():
    def f(x):
        kept = []
        graphad.grad(lambda y: (kept.append(y * 2.0), y)[1])(x)
        return kept[0] + x

    with pytest.raises(TracerLeakError, match="Return it from the function"):
        graphad.grad(f)(1.0)


def test_repr_of_a_leaked_tracer_still_works():
    tracer, _ = leak()
    assert "f32[]" in repr(tracer)


def test_an_exception_ends_the_trace():
    def boom(x):
        raise KeyError("boom")

    for transform in (graphad.grad, graphad.jit, graphad.vmap, graphad.make_graph):
        with pytest.raises(KeyError, match="boom"):
            transform(boom)(gnp.ones(2) if transform is graphad.vmap else 1.0)
        assert float(gnp.sin(0.0)) == 0.0
        assert float(graphad.grad(lambda x: x * x)(3.0)) == 6.0


def test_a_tracer_of_another_thread():
    errors = []

    def f(x):
        def work():
            try:
                x * 2.0
            except TracerLeakError as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return x

    graphad.grad(f)(1.0)
    assert len(errors) == 1


def test_traces_are_freed():
    alive = []

    def f(x):
        alive.append(weakref.ref(x.builder))
        return gnp.sin(x) * x

    compiled = graphad.jit(graphad.grad(f))
    close(compiled(1.0), np.float32(np.sin(1.0) + np.cos(1.0)))
    graphad.grad(f)(1.0)
    gc.collect()
    assert [r() for r in alive] == [None, None]
