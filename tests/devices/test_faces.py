"""`graphad.numpy` on a device: the expressions of `tests.faces`, without a download, as on the CPU."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.faces.cases import ALL
from tests.faces.numpy.cases_everyday import EVERYDAY
from tests.faces.oracle import arrays, check_equal, run

CASES = [*ALL, *EVERYDAY]


def check(case, gpu, no_download):
    here = {name: gnp.asarray(value) for name, value in arrays(32).items()}
    there = graphad.device_put(arrays(32), gpu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of the values
        expected = run(case, gnp, here)
        with no_download():
            got = run(case, gnp, there)
    check_equal(got, expected, ulps=16)


@pytest.mark.parametrize("case", CASES[::29])
def test_as_on_the_cpu(case, gpu, no_download):
    check(case, gpu, no_download)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_as_on_the_cpu(case, gpu, no_download):
    check(case, gpu, no_download)


def test_asking_for_a_shape_is_no_download(gpu, no_download):
    x = graphad.device_put(np.ones((2, 3)), gpu)
    with no_download():
        assert (np.ndim(x), np.shape(x), np.size(x), np.size(x, 1)) == (2, (2, 3), 6, 3)


def test_an_exponent_on_the_device(gpu, no_download):
    x, n = graphad.device_put((np.float32(3), np.int32(2)), gpu)
    with no_download():
        square = x**n
    assert float(square) == 9
