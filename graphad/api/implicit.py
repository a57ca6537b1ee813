"""Solutions of equations with the derivatives of solutions: `custom_root` and `custom_linear_solve`.

The functions that say what is solved and how are traced once, from types, and become the regions of one equation; its
rules, and an example of them, are in `graphad.primitives.implicit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.api.functions import check_callable, name_of
from graphad.api.linear_maps import linearize
from graphad.api.loop_bodies import Body, guard, reordered, settled_types, traced_body, types_of, with_all_captures
from graphad.api.stages import run_on
from graphad.api.tangents import check_tangents, zeros
from graphad.ir.builder import Builder
from graphad.ir.primitive import Primitive
from graphad.primitives.control import without_effects
from graphad.primitives.implicit import custom_linear_solve as custom_linear_solve_primitive
from graphad.primitives.implicit import custom_root as custom_root_primitive
from graphad.trace.array import Array
from graphad.trace.bind import Spec
from graphad.trace.pytree import TreeDef, flatten, path_text, structure_text, unflatten
from graphad.trace.source import user_loc, where
from graphad.trace.tracebacks import boundary
from graphad.transforms.transpose import transposed


@boundary
def custom_root(
    f: Callable[[Any], Any],
    initial_guess: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    tangent_solve: Callable[[Callable[[Any], Any], Any], Any],
    has_aux: bool = False,
) -> Any:
    """A root of ``f`` that ``solve`` finds, differentiated as a root: by what ``f`` closes over.

    The derivative does not go through the steps of ``solve``. From ``f(x) == 0`` follows ``J @ dx == -df``, where J is
    the Jacobian of ``f`` at the root and df the change of ``f`` at that place (the implicit function theorem).

    Parameters
    ----------
    f
        ``f(x) -> residual``, of the structure, shapes and dtypes of x. What it closes over may be differentiated, also
        in reverse mode and to every order.
    initial_guess
        Where the search begins: an array of floats, or a container of such. It has no influence on derivatives.
    solve
        ``solve(f, initial_guess) -> x``. It is traced, and may use `while_loop`; it is never differentiated. What it
        prints is printed once, by the call itself: solves for derivatives print nothing.
    tangent_solve
        ``tangent_solve(g, y) -> x`` with ``g(x) == y``, where ``g`` is linear: the derivative of ``f`` at the root. For
        a scalar that is ``y / g(1.0)``; for vectors `custom_linear_solve` or `graphad.scipy.sparse.linalg.cg`. In
        reverse mode it is transposed: it must be linear in ``y`` in each of its steps.
    has_aux
        ``solve`` returns ``(x, aux)``, and so does this; ``aux`` has no derivative.

    Raises
    ------
    TypeError
        Results of ``f``, ``solve`` or ``tangent_solve`` are not like the initial guess, or that is not of floats.

    Examples
    --------
    >>> import graphad
    >>> from graphad import lax
    >>> def newton(f, x):
    ...     def step(x):
    ...         y, slope = graphad.jvp(f, (x,), (1.0,))
    ...         return x - y / slope
    ...     return lax.fori_loop(0, 8, lambda _, x: step(x), x)
    >>> def root(a):
    ...     return lax.custom_root(lambda x: x**2 - a, 1.0, newton, lambda g, y: y / g(1.0))
    >>> root(4.0), graphad.grad(root)(4.0)
    (Array(2., dtype=float32, weak_type=True), Array(0.25, dtype=float32, weak_type=True))
    """
    for function, role in ((f, "f"), (solve, "solve"), (tangent_solve, "tangent_solve")):
        check_callable(function, f"custom_root ({role})")
    start, treedef = flatten(initial_guess)
    n = len(start)
    what = "lax.custom_root"
    types, function = settled_types(
        types_of(start), lambda given: traced_body(f, given, treedef, name_of(f), what), n, what
    )
    _check_floats(types, treedef, "the initial guess", what)
    _check_like(function, types, treedef, name_of(f), "the initial guess", what)
    solving, aux_tree = _traced_solve(lambda x: solve(f, x), types, treedef, has_aux, name_of(solve), what)
    _, pair_tree = flatten((initial_guess, initial_guess))
    tangent = traced_body(
        lambda pair: tangent_solve(linearize(f, pair[0])[1], pair[1]),
        [*types, *types],
        pair_tree,
        name_of(tangent_solve),
        what,
    )
    _check_like(tangent, types, treedef, "tangent_solve", "the initial guess", what)
    bodies = [solving, function, tangent]
    results = _emitted(custom_root_primitive, bodies, [n, n, 2 * n], start, types)
    guard([function, solving, tangent])
    return _with_aux(results, treedef, aux_tree)


@boundary
def custom_linear_solve(
    matvec: Callable[[Any], Any],
    b: Any,
    solve: Callable[[Callable[[Any], Any], Any], Any],
    transpose_solve: Callable[[Callable[[Any], Any], Any], Any] | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """The ``x`` with ``matvec(x) == b`` that ``solve`` finds, differentiated as that: by ``b`` and by the matrix.

    The derivative does not go through the steps of ``solve``: it solves the same equation with another right side,
    ``A @ dx == db - dA @ x``. In reverse mode that is an equation with the transpose of the matrix.

    Parameters
    ----------
    matvec
        A linear function, from x to what has the structure, shapes and dtypes of x. What it closes over may be
        differentiated, also in reverse mode and to every order.
    b
        The right side: an array of floats, or a container of such.
    solve
        ``solve(matvec, b) -> x``. It is traced, and may use `while_loop`; it is never differentiated. What it prints
        is printed once, by the call itself: solves for derivatives print nothing.
    transpose_solve
        ``transpose_solve(vecmat, b) -> x``, for the transpose of ``matvec``: what reverse mode needs.
    symmetric
        ``matvec`` is its own transpose: ``solve`` solves for both.
    has_aux
        ``solve`` and ``transpose_solve`` return ``(x, aux)``, and this returns ``(x, aux)`` of ``solve``, where ``aux``
        has no derivative.

    Raises
    ------
    TypeError
        Results of the functions are not like ``b``, or that is not of floats.
    DifferentiationError
        In reverse mode, without ``transpose_solve`` and not ``symmetric``.

    Examples
    --------
    >>> import graphad
    >>> from graphad import lax
    >>> def divided(a, b):
    ...     solve = lambda matvec, b: b / matvec(gnp.ones(2))  # of a diagonal matrix
    ...     return lax.custom_linear_solve(lambda x: a * x, b, solve, symmetric=True)
    >>> import graphad.numpy as gnp
    >>> a, b = gnp.array([2.0, 4.0]), gnp.array([1.0, 1.0])
    >>> divided(a, b), graphad.grad(lambda a: gnp.sum(divided(a, b)))(a)
    (Array([0.5 , 0.25], dtype=float32), Array([-0.25  , -0.0625], dtype=float32))
    """
    for function, role in ((matvec, "matvec"), (solve, "solve")):
        check_callable(function, f"custom_linear_solve ({role})")
    right, treedef = flatten(b)
    n = len(right)
    what = "lax.custom_linear_solve"
    types, product = settled_types(
        types_of(right), lambda given: traced_body(matvec, given, treedef, name_of(matvec), what), n, what
    )
    _check_floats(types, treedef, "b", what)
    _check_like(product, types, treedef, name_of(matvec), "b", what)
    solving, aux_tree = _traced_solve(lambda y: solve(matvec, y), types, treedef, has_aux, name_of(solve), what)
    bodies = [solving, product]
    if symmetric:
        bodies += bodies
    elif transpose_solve is not None:
        vecmat = _transposed_product(product, types, treedef, name_of(matvec))
        name = name_of(transpose_solve)
        back, _ = _traced_solve(lambda y: transpose_solve(vecmat, y), types, treedef, has_aux, name, what)
        bodies += [back, traced_body(vecmat, types, treedef, "vecmat", what)]
    results = _emitted(custom_linear_solve_primitive, bodies, [n] * len(bodies), right, types)
    guard([product, solving, *bodies[2:]] if not symmetric else [product, solving])
    return _with_aux(results, treedef, aux_tree)


def _transposed_product(product: Body, types: Sequence[Spec], treedef: TreeDef, name: str) -> Callable[[Any], Any]:
    """The function that multiplies by the transpose of the matrix of ``product``."""
    n = len(types)
    linear = (True,) * n + (False,) * len(product.captures)
    program, nonzero = transposed(product.graph, linear, (True,) * n)

    def vecmat(y: Any) -> Any:
        like = unflatten(
            treedef, [Array(np.broadcast_to(np.zeros((), t.aval.dtype.numpy), t.aval.shape)) for t in types]
        )
        given = check_tangents(like, y, "cotangents", "the transpose of", name)
        found = iter(run_on(program, [*product.captures, *given]))
        return unflatten(treedef, [next(found) if m else zeros(t.aval) for t, m in zip(types, nonzero, strict=True)])

    return vecmat


def _traced_solve(
    call: Callable[[Any], Any], types: Sequence[Spec], treedef: TreeDef, has_aux: bool, name: str, what: str
) -> tuple[Body, TreeDef | None]:
    """A function that solves, traced; and the structure of its auxiliary results, if it has any."""
    body = traced_body(call, types, treedef, name, what)
    found = body.out_tree
    if not has_aux:
        _check_like(body, types, treedef, name, "what it solves for", what)
        return body, None
    if found.num_children != 2 or found.type not in (tuple, list):
        raise TypeError(
            f"{where()}{what}: {name} returns {structure_text(found)}; with has_aux it must return a pair (x, aux)."
        )
    of_x, of_aux = found.children()
    _check_like(body._replace(out_tree=of_x), types, treedef, name, "what it solves for", what)
    return body, of_aux


def _check_floats(types: Sequence[Spec], treedef: TreeDef, role: str, what: str) -> None:
    for k, t in enumerate(types):
        if not t.aval.is_float:
            path = path_text(unflatten(treedef, list(range(len(types)))), k)
            raise TypeError(
                f"{where()}{what} solves for floats, but {role}{path} is {t.aval}. Convert it, as by "
                "x.astype(graphad.numpy.float32), or return it as aux."
            )


def _check_like(body: Body, types: Sequence[Spec], treedef: TreeDef, name: str, like: str, what: str) -> None:
    """Raise unless the first results of ``body`` are as what is solved for."""
    if body.out_tree != treedef:
        raise TypeError(
            f"{where()}{what}: {name} returns {structure_text(body.out_tree)}, but {like} is "
            f"{structure_text(treedef)}: both must be of one structure."
        )
    for k, (t, found) in enumerate(zip(types, body.out_types, strict=False)):
        if found.aval is not t.aval:
            path = path_text(unflatten(treedef, list(range(len(types)))), k)
            remedy = "astype" if found.aval.shape == t.aval.shape else "reshape"
            raise TypeError(
                f"{where()}{what}: {name} returns {found.aval} at result{path}, but {like} is {t.aval} there: types "
                f"must be equal. Convert one of them, as by x.{remedy}(...)."
            )


def _emitted(
    primitive: Primitive, bodies: Sequence[Body], counts: Sequence[int], operands: Sequence[Any], types: Sequence[Spec]
) -> list[Any]:
    """The results of one equation with ``bodies`` as regions, which take so many arguments each."""
    captures, graphs = with_all_captures(bodies, counts)
    first, *others = [reordered(graph, n) for graph, n in zip(graphs, counts, strict=True)]
    builder = Builder()
    builder.loc = user_loc()
    inputs = tuple([builder.input(a) for a in first.in_avals])
    regions = (first, *[without_effects(region) for region in others])
    numbers = builder.emit(primitive, inputs, (len(types),), regions)
    weak = [*[t.weak for t in types], *first.weak[len(types) :]]
    return run_on(builder.close(numbers, weak, name=first.name), [*captures, *operands])


def _with_aux(results: list[Any], treedef: TreeDef, aux_tree: TreeDef | None) -> Any:
    n = treedef.num_leaves
    x = unflatten(treedef, results[:n])
    return x if aux_tree is None else (x, unflatten(aux_tree, results[n:]))
