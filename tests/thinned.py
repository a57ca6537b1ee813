"""Which cases of a long list run every time."""

from __future__ import annotations

import pytest


def every(step, cases, *, several=False):
    """``cases`` for `pytest.mark.parametrize`: the first of each ``step`` runs every time, the others are slow.

    With ``several``, a case is the values of several arguments.
    """

    def slow(case):
        return pytest.param(*(case if several else (case,)), marks=pytest.mark.slow)

    return [slow(case) if k % step else case for k, case in enumerate(cases)]
