"""Equations that are solved step by step, with the derivatives of their solutions.

A solver is one loop of the compiled program, and works inside `jit`, `vmap` and `grad`. Its steps are not
differentiated, except those of `odeint`: the derivatives are those of what the solution fulfils. Names and options are
SciPy's where it has them.

>>> import graphad
>>> from graphad.solve import root
>>> def kepler(mean, eccentricity):  # the eccentric anomaly
...     return root(lambda e: e - eccentricity * graphad.numpy.sin(e) - mean, bracket=(0.0, 3.2)).x
>>> kepler(1.0, 0.3).round(5), graphad.grad(kepler)(1.0, 0.3).round(5)
(Array(1.28809, dtype=float32), Array(1.09133, dtype=float32, weak_type=True))
>>> import numpy as np
>>> odeint(lambda y, t: -y, 1.0, np.array([0.0, 1.0]))  # exp(-t)
Array([1.        , 0.36787944], dtype=float64)
"""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.solve._fixed_point import fixed_point as fixed_point
from graphad.solve._least_squares import least_squares as least_squares
from graphad.solve._minimize import minimize as minimize
from graphad.solve._ode import odeint as odeint
from graphad.solve._ode_event import ODEEvent as ODEEvent
from graphad.solve._ode_integrate import ODEInfo as ODEInfo
from graphad.solve._root import root as root
from graphad.solve._solution import Solution as Solution
from graphad.solve._solution import Status as Status

__dir__ = _listing(globals())
