"""Every primitive on the device against the reference: all samples of one as one program, run by the emulator.

Where a GPU is present, the same programs run on it.
"""

from __future__ import annotations

import numpy as np
import pytest
from graphad_kernels.routines import ROUTINES

from graphad.backends.cuda.run.executable import compile_graph
from graphad.errors import LoweringError
from graphad.ir.types import b1, f32, i32, u32
from tests.cuda.devices import DEVICES
from tests.primitives.cases import all_primitives, assert_close, case_id, cases, pure, run
from tests.primitives.test_engines import all_samples


def on_gpus(primitive):
    """Whether the host is not needed, nor a routine that has no kernels."""
    row = ROUTINES.get(primitive.name)
    return pure(primitive) and (row is None or row.on_gpus)


#: Of u32 what is not of i32; sorts of every dtype are tried in `tests.cuda.schedule.test_sorting`.
FAST = [
    (p, d)
    for p, d in cases((f32, i32, u32, b1), on_gpus)
    if p.name == "threefry2x32" or d is f32 or (d is not u32 and p.name != "argsort")
]


def check(device, primitive, dtype):
    graph, args, names = all_samples(primitive, dtype)
    compiled = compile_graph(graph, device, flush_denormals=False)
    for got, expected, name in zip(compiled(*args), run(graph, args), names, strict=True):
        assert_close(np.asarray(got), expected, primitive, f"{device}: {name}")


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(("primitive", "dtype"), FAST, ids=case_id)
def test_device_is_the_reference(device, primitive, dtype):
    check(device, primitive, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(("primitive", "dtype"), [c for c in cases(keep=on_gpus) if c not in FAST], ids=case_id)
def test_device_is_the_reference_in_the_other_dtypes(device, primitive, dtype):
    check(device, primitive, dtype)


def test_every_primitive_runs_on_the_device():
    tried = {p.name for p, _ in FAST}
    assert tried >= {p.name for p in all_primitives() if p.region_rules is None and p.resolve is None and on_gpus(p)}


@pytest.mark.parametrize("primitive", [p for p in all_primitives() if not on_gpus(p) and pure(p)], ids=case_id)
def test_routines_without_kernels_say_so(primitive):
    graph, _, _ = all_samples(primitive, f32)
    name = primitive.name
    with pytest.raises(LoweringError, match=f"no CUDA form of the routine '{name}'; run this function with device="):
        compile_graph(graph, DEVICES[0])
