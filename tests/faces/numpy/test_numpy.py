"""`graphad.numpy` gives what `jax.numpy` gives: values, shapes, dtypes and weak types, eagerly and traced."""

from __future__ import annotations

import pytest

from tests.faces.cases import ALL, QUESTIONS
from tests.faces.oracle import by_jax, check_like_jax, eagerly, width


@pytest.mark.parametrize("case", QUESTIONS)
def test_questions_like_jax(case):
    with width(32):
        assert eagerly(case, 32) == by_jax(case, 32)


SOME, SOME_WIDE = ALL[::3], ALL[1::12]


# JAX takes long to compile, so most of the cases are left to the slow tests.
@pytest.mark.parametrize("case", SOME)
def test_like_jax(case):
    check_like_jax(case, 32, SOME)


@pytest.mark.parametrize("case", SOME_WIDE)
def test_like_jax_in_64_bits(case):
    check_like_jax(case, 64, SOME_WIDE)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL)
def test_all_like_jax(case):
    for bits in (32, 64):
        check_like_jax(case, bits, ALL)
