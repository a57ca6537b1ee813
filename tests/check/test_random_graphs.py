"""Random graphs: what is planted is found, and what is right is not complained of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphad.check.equations import faults
from graphad.check.origin import Run, find_origin
from graphad.ir.types import f64
from tests.strategies import arguments, random_differentiable_graphs, random_graphs


def places(array, bad):
    return [tuple(map(int, place)) for place in np.argwhere(bad(array))]


@given(random_graphs(dtypes=(f64,), effects=False), st.sampled_from([np.nan, np.inf]), st.integers(0, 2**16))
def test_a_nan_is_followed_to_where_it_was_put(graph, planted, seed):
    """Of all results that it spoils; an infinity may also make a nan or go out on the way."""
    args = [np.asarray(x) for x in arguments(graph, seed)]
    floats = [k for k, x in enumerate(args) if x.dtype.kind == "f" and x.size]
    if not floats or not all(np.isfinite(r).all() for r in Run(graph, args).values if r.dtype.kind == "f"):
        return
    holder = floats[seed % len(floats)]
    place = tuple(int(i) for i in np.unravel_index(seed % args[holder].size, args[holder].shape))
    args[holder] = args[holder].copy()
    args[holder][place] = planted
    run = Run(graph, args)
    bad = np.isnan if np.isnan(planted) else np.isinf
    for atom, result in zip(graph.outputs, run.results, strict=True):
        for index in places(result, bad)[:3] if result.dtype.kind == "f" else []:
            found = find_origin(run, atom, index)
            if found.eqn is None:
                assert (found.input, found.place) == (holder, place)
                continue
            # It was swallowed, and the equation made another out of what was left of it: by finite operands.
            assert not any(bad(x).any() for x in found.operands if x.dtype.kind == "f") or planted == np.inf, found


@settings(max_examples=15)
@given(random_differentiable_graphs(), st.integers(0, 2**16))
def test_no_right_rule_is_called_wrong(graph, seed):
    args = [np.asarray(x) for x in arguments(graph, seed)]
    assert not [fault for fault in faults(graph, args) if fault.is_decided]


@pytest.mark.slow
@settings(max_examples=150)
@given(random_differentiable_graphs(), st.integers(0, 2**16))
def test_nor_in_the_second_order(graph, seed):
    args = [np.asarray(x) for x in arguments(graph, seed)]
    assert not [fault for fault in faults(graph, args, order=2) if fault.is_decided]
