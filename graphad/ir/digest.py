"""Bytes that say what a graph computes: the key under which its program is kept on disk.

Names, locations and weak bits are left out, for machine code does not depend on them, and so are rules of custom
derivatives: of such an equation only the primal region is compiled. The encoding is of plain values, by `marshal` in a
version of it that writes equal values alike; two graphs that encode alike are compiled alike.
"""

from __future__ import annotations

import marshal
from typing import Any, Final

from graphad.ir.graph import Atom, Graph
from graphad.ir.primitive import Primitive

_VERSION: Final = 2  # the last without references, whose place depends on who else holds an object


def encode(graph: Graph) -> bytes:
    r"""What ``graph`` computes.

    >>> from graphad.ir.text import parse_graph
    >>> text = "graph @f(%0: f32[3]) -> (f32[3]) {{\n  %1: f32[3] = {} %0\n  return %1\n}}"
    >>> sine, cosine = (parse_graph(text.format(name)) for name in ("sin", "cos"))
    >>> encode(sine) == encode(parse_graph(text.format("sin").replace("@f", "@other")))
    True
    >>> encode(sine) == encode(cosine)
    False
    """
    return marshal.dumps(_graph(graph, {}), _VERSION)


def _graph(graph: Graph, known: dict[tuple[Primitive, Any], Any]) -> Any:
    eqns: list[Any] = []
    for eqn in graph.eqns:
        key = (eqn.primitive, eqn.params)
        operation = known.get(key)
        if operation is None:
            kinds = eqn.primitive.params.values()
            plain = [kind.plain(x) for kind, x in zip(kinds, eqn.params, strict=True)]
            operation = known[key] = (eqn.primitive.name, *plain)
        regions = tuple([_graph(region, known) for region in eqn.regions])
        eqns.append((operation, _atoms(eqn.inputs), regions))
    inputs = tuple([(a.dtype.name, *a.shape) for a in graph.in_avals])
    return inputs, tuple(eqns), _atoms(graph.outputs)


def _atoms(atoms: tuple[Atom, ...]) -> tuple[Any, ...]:
    return tuple([a if type(a) is int else a.order for a in atoms])  # type: ignore[union-attr]
