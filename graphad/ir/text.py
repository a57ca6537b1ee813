"""The text form of graphs: `format_graph` prints it, `parse_graph` reads it back to an equal graph.

The grammar is in ``README.md``.
"""

from __future__ import annotations

from graphad.ir.parser import parse_graph as parse_graph
from graphad.ir.printer import Mark as Mark
from graphad.ir.printer import format_equations as format_equations
from graphad.ir.printer import format_graph as format_graph
