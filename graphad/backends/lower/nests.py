"""Loop fusion: a tree of loops, grown one anchor at a time.

Every node of the tree is one loop over one axis. An anchor descends from the root: into the loop of its producer, if it
reads that element by element; else into a later loop of its size with which it shares operands; else into a new loop
after everything it depends on. So a softmax becomes one loop over rows that holds three loops over columns, and
reductions of one operand share theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from graphad.backends.lower.affine import Coords, Shape, axis_of
from graphad.backends.lower.anchors import Read
from graphad.ir.loc import Loc

#: Unrelated maps of one shape, and unrelated reductions, share a loop up to this many elements.
SMALL: Final = 4096
#: Anchors in one loop.
_CROWDED: Final = 4000
#: An inner loop this long pays for an outer loop that is not vectorized.
_LONG: Final = 16
#: How many of the latest loops of the right size are looked at.
_CANDIDATES: Final = 4


class Node:
    """One loop, or the root. ``items`` run in order: anchors at this point, inner loops, and at the root other steps.

    ``wide``: it is vectorized, with loops inside. ``deep``: a loop inside it is vectorized. ``closed``: nothing may be
    fused into it. ``sequential``: it carries a dependence. ``index`` is its place among the parent's items.
    """

    __slots__ = (
        "by_extent", "closed", "count", "deep", "extent", "floor", "index", "items", "reverse", "sequential", "shapes",
        "touched", "vector", "wide",
    )  # fmt: skip

    def __init__(self, extent: int, *, closed: bool = False, sequential: bool = False, reverse: bool = False) -> None:
        self.extent, self.closed, self.sequential, self.reverse = extent, closed, sequential, reverse
        self.index = 0
        self.items: list[Item] = []
        self.by_extent: dict[int, list[Node]] = {}
        self.floor = 0  # items before this one are closed: a guard follows them
        self.touched: set[int] = set()
        self.shapes: Shape | None = None  # the extents of all its anchors, from here down, if they are the same
        self.count = 0
        self.wide = self.deep = self.vector = False

    def add(self, node: Node) -> Node:
        """Append an inner loop."""
        node.index = len(self.items)
        self.items.append(node)
        if not node.closed:
            self.by_extent.setdefault(node.extent, []).append(node)
        return node


class Anchor:
    """A value (or a part of one) with its place among the loops.

    Attributes
    ----------
    extents
        The iteration space; for reductions that of the operand.
    kept, reduced
        Axes of ``extents`` of more than one element: those of the result, and those that are reduced or scanned.
    axes
        For each axis of the *value*, the axis of ``extents`` that it is, if any.
    lane
        The axis to vectorize, if any.
    nodes
        The loops whose point it belongs to, with the axis of the value that each runs over.
    tail
        The loops over the reduced axes.
    register
        Readers at the same point can use it without a load.
    """

    __slots__ = (
        "axes", "extents", "index", "kept", "kind", "lane", "loc", "local", "node_of", "nodes", "part", "reads",
        "reduced", "register", "reverse", "root_index", "segment", "stored", "tail", "touched", "value",
    )  # fmt: skip

    def __init__(self, value: int, kind: str, extents: Shape, reduced: Sequence[int], loc: Loc) -> None:
        self.value, self.kind, self.extents, self.loc = value, kind, extents, loc
        self.reduced = [a for a in reduced if extents[a] != 1]
        self.kept = [a for a, n in enumerate(extents) if n != 1 and a not in reduced]
        self.axes: Sequence[int | None] = ()
        self.part: int = 0
        self.lane: int | None = None
        self.reads: list[Read] = []
        self.touched: set[int] = set()
        self.nodes: list[tuple[Node, int]] = []
        self.node_of: dict[int, Node] = {}
        self.tail: list[Node] = []
        self.index = self.root_index = self.segment = 0
        self.register = kind in ("map", "reduce")
        self.reverse = False
        self.stored = False
        self.local: int | None = None  # how many of ``nodes`` all readers share; None: none has to load it

    @property
    def order(self) -> tuple[list[int], list[int]]:
        """The kept and the reduced axes that have no loop yet, from the outermost to the innermost."""
        kept, reduced = (
            [a for a in axes if a != self.lane and a not in self.node_of]
            + [a for a in axes if a == self.lane and a not in self.node_of]
            for axes in (self.kept, self.reduced)
        )
        return kept, reduced

    @property
    def shapes(self) -> Shape:
        """The extents of the loops that are still to be found, reductions marked."""
        kept, reduced = self.order
        return (*[self.extents[a] for a in kept], -1, *[self.extents[a] for a in reduced])


class Step:
    """An item of the root that is no loop; ``what`` is for `generate`."""

    __slots__ = ("loc", "what")

    def __init__(self, what: object, loc: Loc) -> None:
        self.what, self.loc = what, loc


Item = Node | Anchor | Step
Dependency = tuple[Anchor, Coords | None]


class Tree:
    """The loops of a program, and where each value is written."""

    def __init__(self) -> None:
        self.root = Node(1)
        self.segments: list[int] = []  # per item of the root: how many steps that are no loops stand before it
        self.steps = 0
        self.writers: dict[int, list[Anchor]] = {}
        self.needs: dict[int, int] = {}  # item of the root -> first item whose registers it uses

    # ---- steps that are no loops

    def add_step(self, what: object, loc: Loc, values: Sequence[int] = ()) -> None:
        """Append a step; later readers of the ``values`` that it computes come after it."""
        self.segments.append(self.steps)
        self.steps += 1
        self.root.items.append(Step(what, loc))
        for value in values:
            writer = Anchor(value, "step", (), (), loc)
            writer.index = writer.root_index = len(self.root.items) - 1
            writer.register, writer.stored, writer.local = False, True, 0
            self.writers.setdefault(value, []).append(writer)

    def shut(self) -> None:
        """Close all items so far: what follows must not run before them."""
        self.root.floor = len(self.root.items)

    # ---- anchors

    def place(self, anchor: Anchor, after: Sequence[Anchor] = ()) -> None:
        """Give ``anchor`` its loops, behind those of what it reads, and those of ``after``."""
        dependencies: list[Dependency] = []
        for read in anchor.reads:
            for writer in self.writers.get(read.value, ()):
                dependencies.append((writer, read.coords))  # noqa: PERF401
        node, depth, active = self.root, 0, [*dependencies, *[(a, None) for a in after]]
        while len(anchor.node_of) < len(anchor.kept) + len(anchor.reduced):
            node, axis = self._next(node, depth, active, anchor)
            node.touched |= anchor.touched
            if axis in anchor.reduced:
                anchor.tail.append(node)
            else:
                anchor.nodes.append((node, axis))
            active = [d for d in active if depth < len(d[0].nodes) and d[0].nodes[depth][0] is node]
            depth += 1
        self._finish(anchor, node, dependencies)

    def place_scalar(self, value: int, dependencies: Sequence[Anchor], loc: Loc, *, stored: bool) -> None:
        """What `place` does, for a map of scalars."""
        anchor, items = Anchor(value, "map", (), (), loc), self.root.items
        index = first = anchor.index = anchor.root_index = len(items)
        segment = anchor.segment = self.steps
        if stored:
            anchor.stored, anchor.local = True, 0
        items.append(anchor)
        self.segments.append(segment)
        for writer in dependencies:
            if writer.register and not writer.nodes and writer.segment == segment:
                first = min(first, writer.root_index)
            else:
                writer.stored, writer.local = True, 0
        self.needs[index] = first
        self.writers[value] = [anchor]

    def _finish(self, anchor: Anchor, node: Node, dependencies: list[Dependency]) -> None:
        """Append the anchor to its innermost loop, and decide which of its dependencies must be stored."""
        root = self.root
        anchor.index = anchor.tail[0].index if anchor.tail else len(node.items)
        node.items.append(anchor)
        if node is root:
            self.segments.append(self.steps)
        top = anchor.nodes[0][0] if anchor.nodes else anchor.tail[0] if anchor.tail else None
        anchor.root_index = anchor.index if top is None else top.index
        anchor.segment = self.segments[anchor.root_index]
        first = self.needs.get(anchor.root_index, anchor.root_index)
        for writer, coords in dependencies:
            shared = self._shared(writer, coords, anchor) if writer.nodes else 0
            if writer.register and shared == len(writer.nodes):
                if shared:
                    continue
                if writer.segment == anchor.segment:
                    first = min(first, writer.root_index)
                    continue
            writer.stored = True
            writer.local = shared if writer.local is None else min(writer.local, shared)
        self.needs[anchor.root_index] = first
        if anchor.kind in ("piece", "scatter"):  # readers do not find its elements at its own coordinates
            anchor.nodes, anchor.tail, anchor.index = [], [], anchor.root_index
        elif anchor.nodes:
            place = {a: k for k, a in enumerate(anchor.axes) if a is not None}
            anchor.nodes = [(n, place[a]) for n, a in anchor.nodes]
        self.writers.setdefault(anchor.value, []).append(anchor)

    @staticmethod
    def _shared(writer: Anchor, coords: Coords | None, reader: Anchor) -> int:
        """How many outer loops the reader shares with ``writer`` while it reads the element just written."""
        if coords is None:
            return 0
        for k, (node, axis) in enumerate(writer.nodes):
            mine = axis_of(coords[axis])
            if mine is None or reader.node_of.get(mine) is not node:
                return k
        return len(writer.nodes)

    # ---- one step down the tree

    def _next(self, node: Node, depth: int, active: list[Dependency], anchor: Anchor) -> tuple[Node, int]:
        """The loop inside ``node`` to enter next, and the axis of ``anchor`` that it runs over."""
        kept, reduced = anchor.order
        group, rest = kept or reduced, len(kept) + len(reduced) - 1
        last, inner, axis = node.floor - 1, None, None
        for writer, coords in active:
            found, mine, index = None, None, writer.index
            if depth < len(writer.nodes):
                found, written_axis = writer.nodes[depth]
                index = found.index
                mine = None if coords is None else axis_of(coords[written_axis])
                if mine not in group or found.closed or anchor.extents[mine] != found.extent:
                    found = None
            if index > last:
                last, inner, axis = index, found, mine
            elif index == last and (found is not inner or mine != axis):
                inner = None
        sequential = bool(reduced) and not kept and anchor.kind in ("scan", "scatter")
        if inner is not None and axis is not None and not sequential:
            if self._fits(inner, anchor, axis, rest) and self._worthwhile(inner, anchor, axis, group, rest):
                return self._enter(inner, anchor, axis, rest)
        axis = group[0]
        extent = anchor.extents[axis]
        if not sequential:
            for candidate in reversed(node.by_extent.get(extent, [])[-_CANDIDATES:]):
                if candidate.index <= last:
                    break
                if self._fits(candidate, anchor, axis, rest) and self._related(candidate, anchor):
                    return self._enter(candidate, anchor, axis, rest)
        in_turn = sequential and axis != anchor.lane
        made = node.add(Node(extent, closed=sequential, sequential=in_turn, reverse=sequential and anchor.reverse))
        if node is self.root:
            self.segments.append(self.steps)
        made.shapes = anchor.shapes
        return self._enter(made, anchor, axis, rest)

    @staticmethod
    def _fits(node: Node, anchor: Anchor, axis: int, rest: int) -> bool:
        """Whether no loop would have to be vectorized both here and further inside."""
        if node.count >= _CROWDED:
            return False
        if axis == anchor.lane:
            return not (rest and node.deep)
        lane_is_inside = anchor.lane is not None and anchor.lane not in anchor.node_of
        return not (lane_is_inside and node.wide)

    @staticmethod
    def _worthwhile(node: Node, anchor: Anchor, axis: int, group: list[int], rest: int) -> bool:
        """Whether reading the values of ``node`` in registers is worth its cost.

        It may cost the anchor's preferred order of loops, or the vectorization of an innermost loop.
        """
        if not rest or node.deep or node.wide:
            return True
        others = prod(anchor.extents) // (anchor.extents[axis] * prod([n.extent for n in anchor.node_of.values()]))
        return axis == group[0] and axis != anchor.lane and others >= _LONG

    @staticmethod
    def _related(node: Node, anchor: Anchor) -> bool:
        """Whether sharing this loop saves loads, or is at least as good as a new loop."""
        if not node.touched.isdisjoint(anchor.touched):
            return True
        return prod(anchor.extents) <= SMALL and node.shapes == anchor.shapes

    @staticmethod
    def _enter(node: Node, anchor: Anchor, axis: int, rest: int) -> tuple[Node, int]:
        if axis == anchor.lane:
            node.wide = node.wide or rest > 0
        elif anchor.lane not in anchor.node_of:  # further in, or nowhere: a running sum along the rows of a matrix
            node.deep = True
        node.count += 1
        anchor.node_of[axis] = node
        return node, axis


def mark_lanes(root: Node) -> None:
    """Decide which loops are vectorized: at most one on each path from the root."""
    stack = [(item, False) for item in root.items if type(item) is Node]
    while stack:
        node, within = stack.pop()
        inner = [item for item in node.items if type(item) is Node]
        node.vector = not within and not node.sequential and (node.wide or not node.deep) and node.extent > 1
        stack.extend([(item, within or node.vector) for item in inner])
