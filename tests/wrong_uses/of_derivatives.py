"""Wrong uses of derivatives and of rules of one's own: name -> (the use, its error, what the message says)."""

from __future__ import annotations

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.errors import DifferentiationError

V = gnp.array([1.0, 2.0, 3.0])
M = gnp.ones((2, 3))


def with_vjp(fwd, bwd, function=lambda x: x * 2.0, **options):
    f = graphad.custom_vjp(function, **options)
    f.defvjp(fwd, bwd)
    return f


def with_jvp(rule, function=lambda x: x * 2.0):
    f = graphad.custom_jvp(function)
    f.defjvp(rule)
    return f


WRONG = {
    # what derivatives are asked of
    "integer input": (
        lambda: graphad.grad(lambda x: x * 2)(1),
        TypeError,
        r"argument 0 is i32\[\]: integer values.*Write 3\.0 for 3",
    ),
    "boolean input": (
        lambda: graphad.grad(lambda x: x * 2.0)(True),
        DifferentiationError,
        "boolean values have no derivative",
    ),
    "integer leaf": (
        lambda: graphad.grad(lambda p: p["a"] * p["b"])({"a": 1.0, "b": 2}),
        TypeError,
        r"argument 0 \(leaf 1\).*allow_int",
    ),
    "vector result": (lambda: graphad.grad(lambda x: x * 2)(V), TypeError, r"lambda returns f32\[3\]\. Use jacobian"),
    "two results": (
        lambda: graphad.grad(lambda x: (x, x))(1.0),
        TypeError,
        "returns a tuple of 2 arrays.*has_aux=True.*jacobian or vjp",
    ),
    "no result": (lambda: graphad.grad(lambda x: None)(1.0), TypeError, "returns nothing"),
    "integer result": (
        lambda: graphad.grad(lambda x: 3)(1.0),
        DifferentiationError,
        r"i32\[\], which has no derivative",
    ),
    "no pair with aux": (
        lambda: graphad.grad(lambda x: x, has_aux=True)(1.0),
        TypeError,
        r"must return a pair \(value, aux\)",
    ),
    "argnums beyond the arguments": (
        lambda: graphad.grad(lambda x: x, argnums=1)(1.0),
        ValueError,
        "argnums=1, but the call has 1 positional",
    ),
    "argnums that are no ints": (
        lambda: graphad.grad(lambda x: x, argnums="x")(1.0),
        TypeError,
        "must be an int or a tuple of ints",
    ),
    "keyword to differentiate": (lambda: graphad.grad(lambda x: x)(x=1.0), ValueError, "passed by position"),
    "no function": (lambda: graphad.grad(3.0), TypeError, "grad takes a function, not float"),
    "no function to compile": (lambda: graphad.jit(V), TypeError, "jit takes a function, not Array"),
    "boolean Jacobian": (
        lambda: graphad.jacrev(lambda x: x > 0)(V),
        DifferentiationError,
        r"jacrev\(lambda\): a result is bool\[3\].*aux",
    ),
    "boolean forward Jacobian": (
        lambda: graphad.jacfwd(lambda x: x > 0)(V),
        DifferentiationError,
        r"jacfwd\(lambda\): a result is bool\[3\]",
    ),
    "integer Hessian": (
        lambda: graphad.hessian(lambda x: x * x)(3),
        DifferentiationError,
        "integer values have no derivative",
    ),
    "transpose of a square": (
        lambda: graphad.linear_transpose(lambda x: x * x, V)(V),
        DifferentiationError,
        "mul is not linear.*use vjp",
    ),
    "transpose of a sine": (lambda: graphad.linear_transpose(gnp.sin, V)(V), DifferentiationError, "sin is not linear"),
    # tangents and cotangents
    "shape of a tangent": (
        lambda: graphad.jvp(lambda x: x, (V,), (gnp.ones(2),)),
        TypeError,
        r"tangents at \[0\] are f32\[2\].*f32\[3\]",
    ),
    "dtype of a tangent": (
        lambda: graphad.jvp(lambda x: x, (V,), (np.ones(3),)),
        TypeError,
        r"are f64\[3\], but must have the shape and dtype",
    ),
    "structure of tangents": (
        lambda: graphad.jvp(lambda x: x, (V,), (V, V)),
        TypeError,
        r"have structure \(\*, \*\).*\(\*,\)",
    ),
    "primals without a tuple": (lambda: graphad.jvp(lambda x: x, V, V), TypeError, r"must be a tuple.*write \(x,\)"),
    "tangent of an integer": (
        lambda: graphad.jvp(lambda n: n * 2.0, (3,), (1.0,)),
        DifferentiationError,
        r"i32\[\], which has no tangent.*float0",
    ),
    "shape of a cotangent": (
        lambda: graphad.vjp(lambda x: x * 2, V)[1](gnp.ones(2)),
        TypeError,
        r"cotangents are f32\[2\].*f32\[3\]",
    ),
    "structure of cotangents": (
        lambda: graphad.vjp(lambda x: (x, x), V)[1](V),
        TypeError,
        r"cotangents have structure \*",
    ),
    "tangent of a linear map": (
        lambda: graphad.linearize(lambda x: x * 2, V)[1](1.0),
        TypeError,
        r"linearize\(lambda\).*f32\[3\]",
    ),
    # rules of one's own
    "no rules": (
        lambda: graphad.grad(graphad.custom_vjp(lambda x: x))(1.0),
        DifferentiationError,
        r"without rules; call lambda\.defvjp\(fwd, bwd\)",
    ),
    "no forward rule": (
        lambda: graphad.grad(graphad.custom_jvp(lambda x: x))(1.0),
        DifferentiationError,
        r"call lambda\.defjvp",
    ),
    "forward mode of a reverse rule": (
        lambda: graphad.jvp(with_vjp(lambda x: (x * 2.0, x), lambda r, ct: (ct,)), (1.0,), (1.0,)),
        DifferentiationError,
        "Use grad, vjp or jacrev, or define it with custom_jvp",
    ),
    "too few cotangents": (
        lambda: graphad.grad(with_vjp(lambda x, y: (x * y, x), lambda r, ct: (ct,), lambda x, y: x * y))(1.0, 2.0),
        TypeError,
        "one cotangent for each of the 2 arguments.*not 1 entries",
    ),
    "a cotangent without a tuple": (
        lambda: graphad.grad(with_vjp(lambda x: (x, x), lambda r, ct: ct))(1.0),
        TypeError,
        "must return a tuple",
    ),
    "a cotangent of another shape": (
        lambda: graphad.grad(with_vjp(lambda x: (x.sum(), x), lambda r, ct: (ct,), lambda x: x.sum()))(V),
        TypeError,
        r"cotangent of type f32\[\] for a value of type f32\[3\]",
    ),
    "a cotangent of another structure": (
        lambda: graphad.grad(with_vjp(lambda p: (p["a"], p), lambda r, ct: (ct,), lambda p: p["a"]))({"a": 1.0}),
        TypeError,
        r"structure \* for argument 0, which has structure \{'a': \*\}",
    ),
    "a forward rule without residuals": (
        lambda: graphad.grad(with_vjp(lambda x: x, lambda r, ct: (ct,)))(1.0),
        TypeError,
        r"fwd rule of lambda must return a pair",
    ),
    "a forward rule of another structure": (
        lambda: graphad.grad(with_vjp(lambda x: ((x, x), None), lambda r, ct: (ct,)))(1.0),
        TypeError,
        r"fwd rule.*structure \(\*, \*\)",
    ),
    "a forward rule of another type": (
        lambda: graphad.grad(with_vjp(lambda x: (gnp.ones(3), None), lambda r, ct: (ct,)))(1.0),
        TypeError,
        r"fwd rule.*types f32\[3\], but lambda itself returns f32\[\]",
    ),
    "a jvp rule without a tangent": (
        lambda: graphad.grad(with_jvp(lambda p, t: p[0]))(1.0),
        TypeError,
        "jvp rule of lambda must return a pair",
    ),
    "a tangent of another shape": (
        lambda: graphad.grad(with_jvp(lambda p, t: (p[0], gnp.ones(3))))(1.0),
        TypeError,
        r"tangent of type f32\[3\] for a value of type f32\[\]",
    ),
    "a jvp rule of another type": (
        lambda: graphad.grad(with_jvp(lambda p, t: (gnp.ones(3), gnp.ones(3))))(1.0),
        TypeError,
        r"jvp rule.*types f32\[3\], but lambda itself returns f32\[\]",
    ),
    "keywords of a custom function": (
        lambda: graphad.grad(lambda x: graphad.custom_jvp(lambda x, *, k: x)(x, k=2))(1.0),
        TypeError,
        "its arguments must be positional",
    ),
    "nondiff_argnums beyond the arguments": (
        lambda: graphad.grad(with_vjp(lambda x: (x, x), lambda r, ct: (ct,), nondiff_argnums=(3,)))(1.0),
        ValueError,
        r"nondiff_argnums=\(3,\), but the call has 1 arguments",
    ),
}
