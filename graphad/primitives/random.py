"""Random numbers: the block function of the counter-based generator Threefry, and what must not be differentiated."""

from __future__ import annotations

from graphad.ir.types import u32
from graphad.primitives.families import elementwise
from graphad.primitives.reference import kernel

threefry2x32 = elementwise(
    "threefry2x32",
    doc="""The two words of one block of Threefry-2x32 with 20 rounds: threefry2x32(k0, k1, x0, x1) with key k and
    counter x (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC'11).""",
    numpy=kernel("threefry2x32"),
    scalar=(
        "pair0(threefry2x32({0}, {1}, {2}, {3}))",
        "pair1(threefry2x32({0}, {1}, {2}, {3}))",
    ),
    nondifferentiable="its operands are integers, which have no tangent",
    dtypes=(u32,),
    tolerance=0,
)

accepted_with = elementwise(
    "accepted_with",
    doc="x itself, a parameter on which it depends which random numbers are accepted: no derivative goes through it.",
    numpy=lambda x: x,
    scalar="{0}",
    nondifferentiable="which random numbers are accepted depends on this parameter, and jumps as it changes",
    tolerance=0,
)
