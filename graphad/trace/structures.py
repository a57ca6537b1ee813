"""Flattening and unflattening of a known structure by generated functions, which make calls fast.

Examples
--------
>>> from graphad.trace.pytree import flatten
>>> _, treedef = flatten((({"w": 1, "b": 2}, 3), {}))
>>> opened = opener(treedef)
>>> opened(({"b": 20, "w": 10}, 30), {}), opened(([10, 20], 30), {})
((20, 10, 30), None)
>>> builder(flatten({"w": 1, "b": (2, None)})[1])((10, 20))
{'w': 20, 'b': (10, None)}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optree

from graphad.trace.pytree import TreeDef, flatten, unflatten
from graphad.trace.static_keys import StaticKey

Opener = Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, ...] | None]


def opener(treedef: TreeDef, static: Mapping[int, Any] | None = None, named: Mapping[str, Any] | None = None) -> Opener:
    """A function from ``(args, kwargs)`` to the leaves, or to None if the structure is another.

    ``static`` and ``named`` are arguments beside the structure, by position and by name; they must be the same.
    """
    writer = _Writer()
    args, kwargs = treedef.children()
    static, named = static or {}, named or {}
    children, keywords = args.children(), dict(zip(kwargs.entries(), kwargs.children(), strict=True))
    count = len(children) + len(static)
    positions = [k for k in range(count) if k not in static]
    names = [f"args_{k}" for k in range(count)]
    writer.lines.append(f"{''.join(name + ', ' for name in names)} = args" if names else "() = args")
    writer.lines.append(f"if len(kwargs) != {len(keywords) + len(named)}: return None")
    for k, value in static.items():
        writer.compare(names[k], value)
    for key, value in named.items():
        writer.compare(f"kwargs[{key!r}]", value)
    for k, child in zip(positions, children, strict=True):
        writer.open(child, names[k])
    for k, (key, child) in enumerate(keywords.items()):
        writer.lines.append(f"kwargs_{k} = kwargs[{key!r}]")
        writer.open(child, f"kwargs_{k}")
    leaves = "".join(f"{name}, " for name in writer.leaves)
    lines = ["def opened(args, kwargs):", "    try:", *[f"        {line}" for line in writer.lines]]
    lines += [f"        return ({leaves})", "    except (KeyError, ValueError, TypeError):", "        return None"]
    return writer.define("\n".join(lines), "opened")


def builder(treedef: TreeDef) -> Callable[[Sequence[Any]], Any]:
    """The function from leaves to a container of this structure."""
    writer = _Writer()
    text = writer.build(unflatten(treedef, [_Leaf(f"leaves[{k}]") for k in range(treedef.num_leaves)]))
    if text is None:
        return lambda leaves: unflatten(treedef, leaves)
    return writer.define(f"def built(leaves):\n    return {text}", "built")


def _leaves(tree: Any, treedef: TreeDef) -> list[Any] | None:
    """The leaves of a container of a class that is not Python's own; None if its structure is another."""
    leaves, found = flatten(tree)
    return leaves if found == treedef else None


class _Leaf(str):
    """The expression for a leaf."""

    __slots__ = ()


class _Writer:
    """Generates such a function, with the objects that its text refers to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.leaves: list[str] = []
        self.objects: dict[str, Any] = {}

    def define(self, text: str, name: str) -> Callable[..., Any]:
        exec(compile(text, "<graphad structure>", "exec"), self.objects)
        return self.objects[name]

    def constant(self, value: Any) -> str:
        name = f"c{len(self.objects)}"
        self.objects[name] = value
        return name

    def compare(self, name: str, value: Any) -> None:
        """A line that leaves if ``name`` is not the same as ``value``."""
        known, key = self.constant(value), self.constant(StaticKey(value))
        same = f"{name} is {known} or {self.constant(StaticKey)}({name}) == {key}"
        self.lines.append(f"if not ({same}): return None")

    def open(self, treedef: TreeDef, name: str) -> None:
        """Lines that take the value ``name`` apart."""
        kind = treedef.type
        if kind is None:
            self.leaves.append(name)
            return
        if kind is type(None):
            self.lines.append(f"if {name} is not None: return None")
            return
        children = treedef.children()
        if kind not in (dict, tuple, list) and not optree.is_namedtuple_class(kind):
            self.lines.append(f"{name}_leaves = {self.constant(_leaves)}({name}, {self.constant(treedef)})")
            self.leaves.append(f"*{name}_leaves")  # a TypeError if there are none
            return
        self.lines.append(f"if type({name}) is not {self.constant(kind)}: return None")
        inner = [f"{name}_{k}" for k in range(len(children))]
        if kind is dict:
            self.lines.append(f"if len({name}) != {len(children)}: return None")
            keys = [self.constant(key) for key in treedef.entries()]
            self.lines += [f"{one} = {name}[{key}]" for one, key in zip(inner, keys, strict=True)]
        else:
            self.lines.append(f"{''.join(one + ', ' for one in inner)} = {name}" if inner else f"() = {name}")
        for child, one in zip(children, inner, strict=True):
            self.open(child, one)

    def build(self, tree: Any) -> str | None:
        """An expression for ``tree``, of leaves that are expressions; None if there is none."""
        kind = type(tree)
        if kind is _Leaf or tree is None:
            return str(tree)
        inner = tree.values() if kind is dict else tree if isinstance(tree, (tuple, list)) else ()
        parts = [self.build(x) for x in inner]
        if None in parts:
            return None
        if kind is dict:
            keys = [self.constant(key) for key in tree]
            return "{" + ", ".join(f"{key}: {part}" for key, part in zip(keys, parts, strict=True)) + "}"
        if kind is tuple:
            return "(" + "".join(f"{part}, " for part in parts) + ")"
        if kind is list:
            return f"[{', '.join(map(str, parts))}]"
        return f"{self.constant(kind)}({', '.join(map(str, parts))})" if optree.is_namedtuple_class(kind) else None
