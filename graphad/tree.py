"""Pytrees under short names: ``tree.map(f, tree)`` is ``tree_util.tree_map(f, tree)``."""

from __future__ import annotations

from graphad.tree_util import tree_all as all
from graphad.tree_util import tree_flatten as flatten
from graphad.tree_util import tree_flatten_with_path as flatten_with_path
from graphad.tree_util import tree_leaves as leaves
from graphad.tree_util import tree_leaves_with_path as leaves_with_path
from graphad.tree_util import tree_map as map
from graphad.tree_util import tree_map_with_path as map_with_path
from graphad.tree_util import tree_reduce as reduce
from graphad.tree_util import tree_structure as structure
from graphad.tree_util import tree_transpose as transpose
from graphad.tree_util import tree_unflatten as unflatten

__all__ = [
    "all", "flatten", "flatten_with_path", "leaves", "leaves_with_path", "map", "map_with_path", "reduce", "structure",
    "transpose", "unflatten",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
