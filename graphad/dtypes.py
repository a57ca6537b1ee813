"""Kinds of element types that NumPy does not have, for ``graphad.numpy.issubdtype``.

>>> import graphad.numpy as gnp
>>> from graphad import dtypes, random
>>> gnp.issubdtype(random.key(0).dtype, dtypes.prng_key)
True
"""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.numpy import issubdtype as issubdtype
from graphad.trace.keys import extended as extended
from graphad.trace.keys import prng_key as prng_key

__dir__ = _listing(globals(), "extended", "issubdtype", "prng_key")
