"""The primitives under the names and conventions of ``jax.lax``: no promotion, broadcasting only of numbers.

`graphad.numpy` has the same functions for everyday use, where dtypes and shapes need not be equal.
"""

from __future__ import annotations

import typing as _t

from graphad.api.names import listing as _listing
from graphad.api.stop_gradient import stop_gradient as stop_gradient
from graphad.lax._collectives import all_gather as all_gather
from graphad.lax._collectives import all_to_all as all_to_all
from graphad.lax._collectives import axis_index as axis_index
from graphad.lax._collectives import axis_size as axis_size
from graphad.lax._collectives import pmax as pmax
from graphad.lax._collectives import pmean as pmean
from graphad.lax._collectives import pmin as pmin
from graphad.lax._collectives import ppermute as ppermute
from graphad.lax._collectives import pshuffle as pshuffle
from graphad.lax._collectives import psum as psum
from graphad.lax._collectives import psum_scatter as psum_scatter
from graphad.lax._collectives import pswapaxes as pswapaxes
from graphad.lax._convolution import ConvDimensionNumbers as ConvDimensionNumbers
from graphad.lax._convolution import conv as conv
from graphad.lax._convolution import conv_dimension_numbers as conv_dimension_numbers
from graphad.lax._convolution import conv_general_dilated as conv_general_dilated
from graphad.lax._convolution import conv_transpose as conv_transpose
from graphad.lax._convolution import conv_with_general_padding as conv_with_general_padding
from graphad.lax._cumulative import cumlogsumexp as cumlogsumexp
from graphad.lax._cumulative import cummax as cummax
from graphad.lax._cumulative import cummin as cummin
from graphad.lax._cumulative import cumprod as cumprod
from graphad.lax._cumulative import cumsum as cumsum
from graphad.lax._elementwise import abs as abs
from graphad.lax._elementwise import acos as acos
from graphad.lax._elementwise import acosh as acosh
from graphad.lax._elementwise import add as add
from graphad.lax._elementwise import asin as asin
from graphad.lax._elementwise import asinh as asinh
from graphad.lax._elementwise import atan as atan
from graphad.lax._elementwise import atan2 as atan2
from graphad.lax._elementwise import atanh as atanh
from graphad.lax._elementwise import bitcast_convert_type as bitcast_convert_type
from graphad.lax._elementwise import bitwise_and as bitwise_and
from graphad.lax._elementwise import bitwise_not as bitwise_not
from graphad.lax._elementwise import bitwise_or as bitwise_or
from graphad.lax._elementwise import bitwise_xor as bitwise_xor
from graphad.lax._elementwise import cbrt as cbrt
from graphad.lax._elementwise import ceil as ceil
from graphad.lax._elementwise import clamp as clamp
from graphad.lax._elementwise import clz as clz
from graphad.lax._elementwise import convert_element_type as convert_element_type
from graphad.lax._elementwise import cos as cos
from graphad.lax._elementwise import cosh as cosh
from graphad.lax._elementwise import div as div
from graphad.lax._elementwise import eq as eq
from graphad.lax._elementwise import erf as erf
from graphad.lax._elementwise import erf_inv as erf_inv
from graphad.lax._elementwise import erfc as erfc
from graphad.lax._elementwise import exp as exp
from graphad.lax._elementwise import exp2 as exp2
from graphad.lax._elementwise import expm1 as expm1
from graphad.lax._elementwise import floor as floor
from graphad.lax._elementwise import ge as ge
from graphad.lax._elementwise import gt as gt
from graphad.lax._elementwise import integer_pow as integer_pow
from graphad.lax._elementwise import is_finite as is_finite
from graphad.lax._elementwise import le as le
from graphad.lax._elementwise import log as log
from graphad.lax._elementwise import log1p as log1p
from graphad.lax._elementwise import logistic as logistic
from graphad.lax._elementwise import lt as lt
from graphad.lax._elementwise import max as max
from graphad.lax._elementwise import min as min
from graphad.lax._elementwise import mul as mul
from graphad.lax._elementwise import ne as ne
from graphad.lax._elementwise import neg as neg
from graphad.lax._elementwise import nextafter as nextafter
from graphad.lax._elementwise import population_count as population_count
from graphad.lax._elementwise import pow as pow
from graphad.lax._elementwise import reciprocal as reciprocal
from graphad.lax._elementwise import rem as rem
from graphad.lax._elementwise import round as round
from graphad.lax._elementwise import rsqrt as rsqrt
from graphad.lax._elementwise import select as select
from graphad.lax._elementwise import shift_left as shift_left
from graphad.lax._elementwise import shift_right_arithmetic as shift_right_arithmetic
from graphad.lax._elementwise import shift_right_logical as shift_right_logical
from graphad.lax._elementwise import sign as sign
from graphad.lax._elementwise import sin as sin
from graphad.lax._elementwise import sinh as sinh
from graphad.lax._elementwise import sqrt as sqrt
from graphad.lax._elementwise import square as square
from graphad.lax._elementwise import sub as sub
from graphad.lax._elementwise import tan as tan
from graphad.lax._elementwise import tanh as tanh
from graphad.lax._slicing import dynamic_index_in_dim as dynamic_index_in_dim
from graphad.lax._slicing import dynamic_slice as dynamic_slice
from graphad.lax._slicing import dynamic_slice_in_dim as dynamic_slice_in_dim
from graphad.lax._slicing import dynamic_update_index_in_dim as dynamic_update_index_in_dim
from graphad.lax._slicing import dynamic_update_slice as dynamic_update_slice
from graphad.lax._slicing import dynamic_update_slice_in_dim as dynamic_update_slice_in_dim
from graphad.lax._sorting import sort as sort
from graphad.lax._sorting import top_k as top_k
from graphad.lax._structural import argmax as argmax
from graphad.lax._structural import argmin as argmin
from graphad.lax._structural import broadcast as broadcast
from graphad.lax._structural import broadcast_in_dim as broadcast_in_dim
from graphad.lax._structural import broadcasted_iota as broadcasted_iota
from graphad.lax._structural import concatenate as concatenate
from graphad.lax._structural import dot as dot
from graphad.lax._structural import dot_general as dot_general
from graphad.lax._structural import full as full
from graphad.lax._structural import full_like as full_like
from graphad.lax._structural import iota as iota
from graphad.lax._structural import pad as pad
from graphad.lax._structural import reduce_and as reduce_and
from graphad.lax._structural import reduce_max as reduce_max
from graphad.lax._structural import reduce_min as reduce_min
from graphad.lax._structural import reduce_or as reduce_or
from graphad.lax._structural import reduce_prod as reduce_prod
from graphad.lax._structural import reduce_sum as reduce_sum
from graphad.lax._structural import reshape as reshape
from graphad.lax._structural import rev as rev
from graphad.lax._structural import slice as slice
from graphad.lax._structural import slice_in_dim as slice_in_dim
from graphad.lax._structural import transpose as transpose
from graphad.lax._windows import reduce_window as reduce_window
from graphad.numpy import expand_dims as expand_dims
from graphad.numpy import squeeze as squeeze
from graphad.trace import source as _source

_LATER = {
    "cond": "Write a Python if on a value that is known or guarded, or graphad.numpy.where for both branches at once.",
    "switch": "Write Python's if/elif, or graphad.numpy.select.",
    "scan": "Write a Python for loop: it is traced turn by turn.",
    "while_loop": "Write a Python while loop: it is traced turn by turn, guarded by its condition.",
    "fori_loop": "Write a Python for loop: it is traced turn by turn.",
    "map": "Write graphad.vmap.",
}


if not _t.TYPE_CHECKING:  # it would give every misspelt name a type

    def __getattr__(name: str) -> _t.NoReturn:
        if name in _LATER:
            raise AttributeError(f"{_source.where()}graphad.lax.{name} is not there yet. {_LATER[name]}")
        raise AttributeError(f"module 'graphad.lax' has no attribute {name!r}")


__dir__ = _listing(globals())
