"""The primitives: importing this package fills the registry `graphad.ir.primitive.PRIMITIVES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from graphad.ir.lowering import Lowering
from graphad.ir.primitive import PRIMITIVES, Primitive
from graphad.primitives import arithmetic as arithmetic
from graphad.primitives import barrier as barrier
from graphad.primitives import callbacks as callbacks
from graphad.primitives import cast as cast
from graphad.primitives import collectives as collectives
from graphad.primitives import comparison as comparison
from graphad.primitives import cond as cond
from graphad.primitives import contract as contract
from graphad.primitives import control as control
from graphad.primitives import convolution as convolution
from graphad.primitives import cumulative as cumulative
from graphad.primitives import custom as custom
from graphad.primitives import dynamic as dynamic
from graphad.primitives import effects as effects
from graphad.primitives import hyperbolic as hyperbolic
from graphad.primitives import implicit as implicit
from graphad.primitives import indexing as indexing
from graphad.primitives import layout as layout
from graphad.primitives import linalg as linalg
from graphad.primitives import random as random
from graphad.primitives import reduce as reduce
from graphad.primitives import scan as scan
from graphad.primitives import shape as shape
from graphad.primitives import sorting as sorting
from graphad.primitives import transcendental as transcendental
from graphad.primitives import while_loop as while_loop
from graphad.primitives import windows as windows

#: The primitives of graphad itself, and the lowerings they came with: their names say what is compiled for them.
OWN: Final[Mapping[Primitive, Lowering | Callable[..., Lowering] | None]] = MappingProxyType(
    {p: p.lowering for p in PRIMITIVES.values()}
)
