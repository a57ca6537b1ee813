"""Looking into compiled functions: every stage on the way from Python to machine code, as text.

The command line is one user of this package; in Python:

>>> import graphad.numpy as gnp
>>> from graphad import inspection
>>> print(inspection.stage_text(gnp.sqrt, inspection.parse_arguments("f32[3]"), "traced"))
graph @sqrt(%0: f32[3]) -> (f32[3]) {
  %1: f32[3] = sqrt %0   ; ...
  return %1
}
"""

from __future__ import annotations

from graphad.inspection.arguments import Static as Static
from graphad.inspection.arguments import format_arguments as format_arguments
from graphad.inspection.arguments import parse_arguments as parse_arguments
from graphad.inspection.checks import Checked as Checked
from graphad.inspection.checks import check_rules as check_rules
from graphad.inspection.stages import GRAPH_STAGES as GRAPH_STAGES
from graphad.inspection.stages import all_stages as all_stages
from graphad.inspection.stages import diff_text as diff_text
from graphad.inspection.stages import explain as explain
from graphad.inspection.stages import program_stages as program_stages
from graphad.inspection.stages import stage_graph as stage_graph
from graphad.inspection.stages import stage_text as stage_text
from graphad.inspection.target import GraphFunction as GraphFunction
from graphad.inspection.target import TargetError as TargetError
from graphad.inspection.target import load_function as load_function
