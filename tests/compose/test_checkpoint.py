"""`checkpoint`: what is kept, what is computed again, and that nothing undoes it."""

from __future__ import annotations

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.transforms.linearize import linearized
from tests.compose.tools import close, count, f64, slope

BATCH = f64([0.3, -0.5, 0.9])


def chain(x):
    return gnp.sin(gnp.exp(gnp.sin(x)))


def exps(f, x=0.3):
    return count(graphad.make_graph(f)(f64(x)), "exp")


def test_same_values_and_derivatives():
    for transform in (graphad.grad, lambda f: graphad.grad(graphad.grad(f)), graphad.jacfwd, graphad.hessian):
        close(transform(graphad.checkpoint(chain))(f64(0.3)), transform(chain)(f64(0.3)), 1e-12)
        close(graphad.jit(transform(graphad.checkpoint(chain)))(f64(0.3)), transform(chain)(f64(0.3)), 1e-12)
    close(graphad.vmap(graphad.grad(graphad.checkpoint(chain)))(BATCH), graphad.vmap(graphad.grad(chain))(BATCH), 1e-12)
    close(
        graphad.grad(lambda x: graphad.vmap(graphad.checkpoint(chain))(x).sum())(BATCH),
        graphad.vmap(graphad.grad(chain))(BATCH),
    )


def test_values_are_computed_twice():
    kept = graphad.value_and_grad(chain)
    again = graphad.value_and_grad(graphad.checkpoint(chain))
    assert (exps(kept), exps(again)) == (1, 2)


def test_the_compiler_does_not_merge_them_again():
    compiled = graphad.jit(graphad.value_and_grad(graphad.checkpoint(chain)))
    assert count(compiled.graph(f64(0.3)), "exp") == 2


def test_what_nobody_wants_is_not_computed():
    # Of the gradient alone, the primal value is dead: only the recomputation is left.
    assert exps(graphad.grad(graphad.checkpoint(chain))) == 1


def test_only_the_arguments_are_kept():
    deep = lambda x: chain(chain(chain(x)))
    mask = (True,)
    plain = linearized(graphad.make_graph(lambda x: deep(x))(f64(0.3)), mask)
    saving = linearized(graphad.make_graph(lambda x: graphad.checkpoint(deep)(x))(f64(0.3)), mask)
    assert plain.n_residuals > 3
    assert saving.n_residuals == 1


def test_nested_and_inside_jit():
    nested = lambda x: graphad.checkpoint(lambda y: graphad.checkpoint(chain)(y) * 2.0)(x)
    inside = lambda x: graphad.jit(graphad.checkpoint(chain))(x) * 2.0
    outside = lambda x: graphad.checkpoint(graphad.jit(chain))(x) * 2.0
    for f in (nested, inside, outside):
        close(graphad.grad(f)(f64(0.3)), 2 * slope(lambda x: np.sin(np.exp(np.sin(x))), 0.3))


def test_captured_values_are_operands():
    f = lambda w: graphad.checkpoint(lambda x: gnp.exp(x * w) * w)(w)
    close(graphad.grad(f)(f64(2.0)), np.exp(4.0) * (1 + 2 * 4), 1e-12)


def test_a_python_branch_inside():
    f = lambda x: graphad.checkpoint(lambda y: gnp.sin(y) if y > 0 else y * y)(x)
    compiled = graphad.jit(graphad.grad(f))
    for x, expected in ((-1.0, -2.0), (1.0, np.cos(1.0)), (-2.0, -4.0)):
        close(compiled(f64(x)), expected)
        close(graphad.grad(f)(f64(x)), expected)
    close(graphad.grad(graphad.grad(f))(f64(-1.0)), 2.0)


def test_without_a_trace_it_is_the_function():
    close(graphad.checkpoint(chain)(f64(0.3)), chain(f64(0.3)))
    assert graphad.checkpoint(chain).__name__ == "chain"
