"""The flow of power in a grid, by Newton's method: ``python examples/newton_power_flow.py``.

The grid has 3 generators, 3 loads and 9 buses (Anderson and Fouad, Power System Control and Stability, 1977). What
flows into each bus follows from all voltages v and angles a (in units of 100 MW),

    P_i = sum_k v_i v_k (G_ik cos(a_i - a_k) + B_ik sin(a_i - a_k)),  Q_i likewise,

and must be what is generated less what is used. `root` solves these 14 equations. Its implicit derivative says what
each megawatt more of a load costs in losses; a batch of roots is how voltages fall as all loads grow, up to where no
solution is left: the grid collapses.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import graphad
import graphad.numpy as gnp
from graphad.solve import root

# From bus, to bus, resistance, reactance, susceptance of the charged line.
LINES = [
    (1, 4, 0, 0.0576, 0), (4, 5, 0.017, 0.092, 0.158), (5, 6, 0.039, 0.17, 0.358), (3, 6, 0, 0.0586, 0),
    (6, 7, 0.0119, 0.1008, 0.209), (7, 8, 0.0085, 0.072, 0.149), (8, 2, 0, 0.0625, 0), (8, 9, 0.032, 0.161, 0.306),
    (9, 4, 0.01, 0.085, 0.176),
]  # fmt: skip
ACTIVE, REACTIVE = np.array([[0, 0.9, 0, 1, 0, 1.25], [0, 0.3, 0, 0.35, 0, 0.5]])  # used at buses 4 to 9
GENERATED = np.array([1.63, 0.85])  # at buses 2 and 3; bus 1 gives what is missing
HELD = np.array([1.04, 1.025, 1.025])  # the voltages of buses 1 to 3
Y: Any = np.zeros((9, 9), complex)  # its product with the voltages is the currents
for i, k, r, x, b in LINES:
    Y[[i - 1, k - 1], [i - 1, k - 1]] += 1 / (r + 1j * x) + 0.5j * b
    Y[[i - 1, k - 1], [k - 1, i - 1]] -= 1 / (r + 1j * x)


def powers(unknowns: Any) -> tuple[Any, Any]:
    """The active and reactive power that flows into the grid, at each bus."""
    v, angle = gnp.concatenate([HELD, unknowns["v"]]), gnp.concatenate([np.zeros(1), unknowns["angle"]])
    cos, sin = (f(angle[:, None] - angle) for f in (gnp.cos, gnp.sin))
    return v * ((Y.real * cos + Y.imag * sin) @ v), v * ((Y.real * sin - Y.imag * cos) @ v)


def flow(active: Any, scale: Any = 1.0) -> Any:
    """The root where this power is used at buses 4 to 9, and all powers are ``scale`` times what they are now."""

    def misses(unknowns: Any) -> Any:
        p, q = powers(unknowns)
        return p[1:3] - scale * GENERATED, p[3:] + scale * active, q[3:] + scale * REACTIVE

    return root(misses, {"v": np.ones(6), "angle": np.zeros(8)}, method="newton", throw=False)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Solve, differentiate and draw; returns powers, voltages, angles, losses by each load, and the greatest scale."""
    parser = argparse.ArgumentParser(description="The flow of power in a grid of nine buses.")
    parser.add_argument("--output", default="newton_power_flow.png")
    options = parser.parse_args(argv)
    x, scales = flow(ACTIVE).x, np.linspace(0.0, 3.0, 121)
    p, by_load = powers(x)[0], graphad.jit(graphad.grad(lambda used: gnp.sum(powers(flow(used).x)[0])))(ACTIVE)
    print(f"bus 1 gives {100 * float(p[0]):.2f} MW; {100 * float(gnp.sum(p)):.2f} MW are lost")
    batch: Any = graphad.jit(graphad.vmap(flow, in_axes=(None, 0)))(ACTIVE, scales)
    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    for k in np.flatnonzero(ACTIVE):
        print(f"bus {k + 4}: voltage {float(x['v'][k]):.4f}; {float(by_load[k]):+.4f} MW lost for each one more")
        axes.plot(scales, np.where(batch.success, batch.x["v"][:, k], np.nan), label=f"bus {k + 4}")
    axes.set(xlabel="all powers, in units of those now", ylabel="voltage, in units of the nominal one")
    axes.legend()
    figure.savefig(options.output, dpi=120)
    print(
        f"{options.output} has voltages up to {(most := scales[np.asarray(batch.success)].max()):.2f} times the powers"
    )
    return {"p": np.asarray(p), "losses": np.asarray(by_load), "most": float(most), **x}


if __name__ == "__main__":
    main()
