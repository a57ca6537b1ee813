"""The pass `simplify`: all rewrite rules, in one traversal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from graphad.config import config
from graphad.ir.graph import Graph
from graphad.passes.pipeline import Pass, graph_pass
from graphad.passes.rewrite import OnRewrite, RuleSet, rewrite
from graphad.passes.rules_algebra import ARITHMETIC, CASTS, LOGIC
from graphad.passes.rules_general import GENERAL
from graphad.passes.rules_linalg import SOLUTIONS
from graphad.passes.rules_shape import COMPOSITIONS, CONSTANTS, CONTRACTIONS, IDENTITIES, PIECES
from graphad.passes.symmetry import SYMMETRY

#: All rules, the inexact ones among them.
RULES: Final[RuleSet] = (
    GENERAL
    + IDENTITIES
    + ARITHMETIC
    + LOGIC
    + CASTS
    + CONSTANTS
    + CONTRACTIONS
    + SYMMETRY
    + SOLUTIONS
    + COMPOSITIONS
    + PIECES
)
#: The bitwise exact rules (up to the order of sums).
EXACT_RULES: Final[RuleSet] = RULES.exact()


@graph_pass("simplify")
@dataclass(frozen=True)
class Simplify(Pass):
    """Algebra, constant folding, and shape operations that cancel.

    Attributes
    ----------
    fast_math
        Also apply the rules that change rounding, or assume no NaNs and no infinities. None: as ``config.fast_math``
        says.
    """

    fast_math: bool | None = None

    def run(self, graph: Graph, on_rewrite: OnRewrite | None = None) -> Graph:
        """The simplified graph; ``on_rewrite`` is told the name of every rule used, and where."""
        fast_math = config.fast_math if self.fast_math is None else self.fast_math
        return rewrite(graph, RULES if fast_math else EXACT_RULES, on_rewrite)
