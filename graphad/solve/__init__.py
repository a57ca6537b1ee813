"""Solvers whose solutions can be differentiated.

>>> import numpy as np
>>> odeint(lambda y, t: -y, 1.0, np.array([0.0, 1.0]))  # exp(-t)
Array([1.        , 0.36787944], dtype=float64)
"""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.solve._ode import odeint as odeint
from graphad.solve._ode_event import ODEEvent as ODEEvent
from graphad.solve._ode_integrate import ODEInfo as ODEInfo

__dir__ = _listing(globals())
