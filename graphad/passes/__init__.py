"""Passes over graphs: rewriting, simplification, inlining, and the pipelines that string them together."""

from __future__ import annotations

from graphad.passes.fission import Fission as Fission
from graphad.passes.gather_products import GatherProducts as GatherProducts
from graphad.passes.hoist import Hoist as Hoist
from graphad.passes.inline import Inline as Inline
from graphad.passes.pipeline import PASSES as PASSES
from graphad.passes.pipeline import Pass as Pass
from graphad.passes.pipeline import Pipeline as Pipeline
from graphad.passes.pipeline import applied as applied
from graphad.passes.pipeline import format_pipeline as format_pipeline
from graphad.passes.pipeline import graph_pass as graph_pass
from graphad.passes.pipeline import parse_pipeline as parse_pipeline
from graphad.passes.pipeline import run as run
from graphad.passes.reroll import Reroll as Reroll
from graphad.passes.routines_as_graphs import RoutinesAsGraphs as RoutinesAsGraphs
from graphad.passes.simplify import Simplify as Simplify
from graphad.passes.unroll_matrices import UnrollMatrices as UnrollMatrices
