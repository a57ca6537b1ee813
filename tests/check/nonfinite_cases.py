"""Functions that make a nan or an infinity, each at a line marked with the case's name."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np

import graphad
import graphad.numpy as gnp


class Case(NamedTuple):
    """A function of one vector with a scalar result, and who is to be named.

    Attributes
    ----------
    function, x
        What is run, and where.
    order
        0: its value is bad; 1: its gradient is, and its value is not; 2: its second derivative.
    primitive, side
        Of the equation that makes the nan: the primitive, and "", "derivative" or "adjoint".
    operands
        What it makes it of.
    cause
        Where it makes a nan of an infinity: the primitive that made that.
    looks
        The setting that is on.
    """

    function: Any
    x: Any
    order: int
    primitive: str
    operands: str
    side: str = ""
    cause: str = ""
    looks: str = "debug_nans"


CASES: dict[str, Case] = {}


def case(x, order, primitive, operands, **rest):
    def add(function):
        name = function.__name__.replace("_", " ")
        CASES[name] = Case(function, np.asarray(x, np.float32), order, primitive, operands, **rest)
        return function

    return add


def line_of(name):
    """The number of the line that ends in the comment ``name``."""
    lines = inspect.getsource(inspect.getmodule(line_of)).splitlines()
    (found,) = [k + 1 for k, line in enumerate(lines) if line.endswith(f"  # {name}")]
    return found


# --- values


@case([1, -1, 2], 0, "log", "-1.0")
def logarithm(x):
    return gnp.log(x).sum()  # logarithm


@case([1, 0, 2], 0, "div", "0.0 and 0.0")
def zero_by_zero(x):
    return (x / x).sum()  # zero by zero


@case([1, 2], 0, "sub", "inf and inf", cause="exp")
def difference_of_infinities(x):
    high, low = gnp.exp(x * 300), gnp.exp(x * 200)
    return (high - low).sum()  # difference of infinities


@case([4, -4], 0, "sqrt", "-4.0")
def square_root(x):
    return gnp.sqrt(x).sum()  # square root


@case([0, 1], 0, "mul", "0.0 and inf", cause="div")
def zero_times_infinity(x):
    far = 1 / x
    return (x * far).sum()  # zero times infinity


@case([0.5, 2], 0, "asin", "2.0")
def arcsine(x):
    return gnp.arcsin(x).sum()  # arcsine


@case([0.5, 2], 0, "acosh", "0.5")
def arccosh(x):
    return gnp.arccosh(x).sum()  # arccosh


@case([-2, 2], 0, "log1p", "-2.0")
def log_of_one_more(x):
    return gnp.log1p(x).sum()  # log of one more


@case([-2, 2], 0, "pow", "-2.0 and 0.3")
def power(x):
    return (x**0.3).sum()  # power


@case([1, 2], 0, "div", "inf and inf", cause="exp")
def softmax_by_hand(x):
    e = gnp.exp(x * 100)
    return (e / e.sum())[1]  # softmax by hand


@case([0, 0], 0, "div", "0.0 and 0.0")
def unit_vector(x):
    return (x / gnp.sqrt((x * x).sum()))[0]  # unit vector


@case([-1, -2, 3], 0, "log", "-2.0")
def chosen_side(x):
    other = gnp.sqrt(x)
    mine = gnp.log(x)  # chosen side
    return gnp.where(gnp.arange(3) == 1, mine, gnp.where(x > 0, other, 0.0)).sum()


@case([-1, -2, 3], 0, "log", "-2.0")
def element_that_is_read(x):
    y = gnp.log(x)  # element that is read
    return y[1] + gnp.nan_to_num(y[0])


@case([1, -2, 3, 4], 0, "log", "-2.0")
def row_of_a_product(x):
    y = gnp.log(x)  # row of a product
    return (y.reshape(2, 2) @ gnp.ones((2, 3)))[0, 2]


@case([1, 2, 3], 0, "cumsum", "[1.0, inf, -inf]", cause="div")
def running_sum(x):
    y = gnp.where(gnp.arange(3) == 0, x, gnp.array([1.0, 1.0, -1.0]) / (x * 0))
    return gnp.cumsum(y)[2]  # running sum


@case([1, 0], 0, "log", "-1.0")
def within_jit(x):
    @graphad.jit
    def inner(z):
        return gnp.log(z)  # within jit

    return inner(x - 1).sum()


@case([1, 0], 0, "sub", "inf and inf", cause="div")
def within_checkpoint(x):
    @graphad.checkpoint
    def inner(z):
        return z - z  # within checkpoint

    return inner(1 / x).sum()


@case([1, 0], 0, "log", "-1.0")
def within_custom_function(x):
    @graphad.custom_jvp
    def inner(z):
        return gnp.log(z)  # within custom function

    inner.defjvp(lambda primals, tangents: (inner(*primals), tangents[0]))
    return inner(x - 1).sum()


@case([2, 4, -9], 0, "sqrt", "-9.0")
def one_element(x):
    return graphad.vmap(lambda z: gnp.sqrt(z) * 2)(x).sum()  # one element


# --- gradients


@case([0, 0], 1, "mul", "0.0 and inf", side="adjoint", cause="div")
def norm_at_zero(x):
    return gnp.sqrt((x * x).sum())  # norm at zero


@case([1, 0], 1, "div", "0.0 and 0.0", side="adjoint")
def masked_logarithm(x):
    return gnp.where(x > 0, gnp.log(x), 0.0).sum()  # masked logarithm


@case([1, 0], 1, "mul", "inf and 0.0", side="adjoint", cause="div")
def masked_root(x):
    return gnp.where(x > 0, gnp.sqrt(x), 0.0).sum()  # masked root


@case([4, 0], 1, "add", "-inf and inf", side="adjoint", cause="div")
def difference_of_roots(x):
    left = gnp.sqrt(x)  # difference of roots
    right = gnp.sqrt(x * 2)
    return (left - right).sum()


@case([0.5, 0], 1, "mul", "-inf and 0.0", side="adjoint", cause="log")
def entropy(x):
    safe = gnp.where(x > 0, x * gnp.log(x), 0.0)  # entropy
    return safe.sum()


@case([0, 3], 1, "div", "0.0 and 0.0", side="derivative")
def angle(x):
    return gnp.arctan2(x, x * 0).sum()  # angle


@case([1, 0.5], 1, "mul", "-inf and 0.0", side="adjoint", cause="div")
def arccosine_at_its_edge(x):
    return gnp.where(x < 1, gnp.arccos(x), 0.0).sum()  # arccosine at its edge


@case([0, 1], 1, "div", "0.0 and 0.0")
def backward_rule(x):
    @graphad.custom_vjp
    def inner(z):
        return z * z

    inner.defvjp(lambda z: (z * z, z), lambda z, ct: (ct * (z / z),))  # backward rule
    return inner(x).sum()


@case([0, 1], 1, "div", "0.0 and 0.0")
def forward_rule(x):
    @graphad.custom_jvp
    def inner(z):
        return z * z

    inner.defjvp(lambda primals, tangents: (inner(*primals), tangents[0] * (primals[0] / primals[0])))  # forward rule
    return inner(x).sum()


# --- infinities


@case([1, 100], 0, "exp", "100.0", looks="debug_infs")
def overflow(x):
    return gnp.exp(x).sum()  # overflow


@case([1, 0], 0, "div", "1.0 and 0.0", looks="debug_infs")
def reciprocal(x):
    return (1 / x).sum()  # reciprocal


@case([2e38, 2e38], 0, "reduce_sum", "[2e+38, 2e+38]", looks="debug_infs")
def sum_too_large(x):
    return x.sum()  # sum too large


@case([1, 7e4], 0, "convert", "70000.0", looks="debug_infs")
def conversion(x):
    return x.astype("float16").max()  # conversion


@case([1, 1e-40], 0, "log", "0.0", looks="debug_infs")
def denormal_number(x):
    return gnp.log(x).sum()  # denormal number


@case([0, 3], 0, "div", "1.0 and 0.0", looks="debug_infs")
def made_beside_meant(x):
    return gnp.where(x > 1, -gnp.inf, 1 / x).max()  # made beside meant


@case([4, 0], 1, "div", "1.0 and 0.0", side="derivative", looks="debug_infs")
def slope_of_a_root(x):
    return gnp.sqrt(x).sum()  # slope of a root


@case([4, 0], 2, "pow", "0.0 and -0.5", side="derivative", looks="debug_infs")
def curvature(x):
    return (x**1.5).sum()  # curvature
