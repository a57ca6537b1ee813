"""NumPy's functions on arrays and on traced values. Names, arguments and results are those of ``jax.numpy``."""

from __future__ import annotations

import math
from typing import NoReturn

from graphad.numpy import _methods as _methods
from graphad.numpy import linalg as linalg
from graphad.numpy._arithmetic import add as add
from graphad.numpy._arithmetic import clip as clip
from graphad.numpy._arithmetic import divide as divide
from graphad.numpy._arithmetic import divmod as divmod
from graphad.numpy._arithmetic import float_power as float_power
from graphad.numpy._arithmetic import floor_divide as floor_divide
from graphad.numpy._arithmetic import fmod as fmod
from graphad.numpy._arithmetic import hypot as hypot
from graphad.numpy._arithmetic import logaddexp as logaddexp
from graphad.numpy._arithmetic import maximum as maximum
from graphad.numpy._arithmetic import minimum as minimum
from graphad.numpy._arithmetic import mod as mod
from graphad.numpy._arithmetic import multiply as multiply
from graphad.numpy._arithmetic import pow as pow
from graphad.numpy._arithmetic import power as power
from graphad.numpy._arithmetic import remainder as remainder
from graphad.numpy._arithmetic import subtract as subtract
from graphad.numpy._arithmetic import true_divide as true_divide
from graphad.numpy._convolution import convolve as convolve
from graphad.numpy._convolution import correlate as correlate
from graphad.numpy._creation import arange as arange
from graphad.numpy._creation import array as array
from graphad.numpy._creation import asarray as asarray
from graphad.numpy._creation import astype as astype
from graphad.numpy._creation import empty as empty
from graphad.numpy._creation import empty_like as empty_like
from graphad.numpy._creation import eye as eye
from graphad.numpy._creation import full as full
from graphad.numpy._creation import full_like as full_like
from graphad.numpy._creation import identity as identity
from graphad.numpy._creation import linspace as linspace
from graphad.numpy._creation import ones as ones
from graphad.numpy._creation import ones_like as ones_like
from graphad.numpy._creation import zeros as zeros
from graphad.numpy._creation import zeros_like as zeros_like
from graphad.numpy._cumulative import cumprod as cumprod
from graphad.numpy._cumulative import cumulative_prod as cumulative_prod
from graphad.numpy._cumulative import cumulative_sum as cumulative_sum
from graphad.numpy._cumulative import nancumprod as nancumprod
from graphad.numpy._cumulative import nancumsum as nancumsum
from graphad.numpy._dtypes import bfloat16 as bfloat16
from graphad.numpy._dtypes import bool_ as bool_
from graphad.numpy._dtypes import dtype as dtype
from graphad.numpy._dtypes import finfo as finfo
from graphad.numpy._dtypes import float16 as float16
from graphad.numpy._dtypes import float32 as float32
from graphad.numpy._dtypes import float64 as float64
from graphad.numpy._dtypes import floating as floating
from graphad.numpy._dtypes import generic as generic
from graphad.numpy._dtypes import iinfo as iinfo
from graphad.numpy._dtypes import inexact as inexact
from graphad.numpy._dtypes import int8 as int8
from graphad.numpy._dtypes import int16 as int16
from graphad.numpy._dtypes import int32 as int32
from graphad.numpy._dtypes import int64 as int64
from graphad.numpy._dtypes import integer as integer
from graphad.numpy._dtypes import iscomplexobj as iscomplexobj
from graphad.numpy._dtypes import issubdtype as issubdtype
from graphad.numpy._dtypes import number as number
from graphad.numpy._dtypes import promote_types as promote_types
from graphad.numpy._dtypes import result_type as result_type
from graphad.numpy._dtypes import signedinteger as signedinteger
from graphad.numpy._dtypes import uint8 as uint8
from graphad.numpy._dtypes import uint16 as uint16
from graphad.numpy._dtypes import uint32 as uint32
from graphad.numpy._dtypes import uint64 as uint64
from graphad.numpy._dtypes import unsignedinteger as unsignedinteger
from graphad.numpy._einsum import einsum as einsum
from graphad.numpy._indexing import diag as diag
from graphad.numpy._indexing import diagonal as diagonal
from graphad.numpy._indexing import take as take
from graphad.numpy._indexing import take_along_axis as take_along_axis
from graphad.numpy._indexing import trace as trace
from graphad.numpy._indexing import tril as tril
from graphad.numpy._indexing import triu as triu
from graphad.numpy._integers import bitwise_count as bitwise_count
from graphad.numpy._integers import bitwise_invert as bitwise_invert
from graphad.numpy._integers import bitwise_left_shift as bitwise_left_shift
from graphad.numpy._integers import bitwise_right_shift as bitwise_right_shift
from graphad.numpy._integers import gcd as gcd
from graphad.numpy._integers import lcm as lcm
from graphad.numpy._joining import append as append
from graphad.numpy._joining import array_split as array_split
from graphad.numpy._joining import column_stack as column_stack
from graphad.numpy._joining import concatenate as concatenate
from graphad.numpy._joining import hstack as hstack
from graphad.numpy._joining import pad as pad
from graphad.numpy._joining import repeat as repeat
from graphad.numpy._joining import roll as roll
from graphad.numpy._joining import split as split
from graphad.numpy._joining import stack as stack
from graphad.numpy._joining import tile as tile
from graphad.numpy._joining import vstack as vstack
from graphad.numpy._linear import dot as dot
from graphad.numpy._linear import inner as inner
from graphad.numpy._linear import matmul as matmul
from graphad.numpy._linear import outer as outer
from graphad.numpy._linear import tensordot as tensordot
from graphad.numpy._linear import vdot as vdot
from graphad.numpy._logic import allclose as allclose
from graphad.numpy._logic import array_equal as array_equal
from graphad.numpy._logic import bitwise_and as bitwise_and
from graphad.numpy._logic import bitwise_not as bitwise_not
from graphad.numpy._logic import bitwise_or as bitwise_or
from graphad.numpy._logic import bitwise_xor as bitwise_xor
from graphad.numpy._logic import equal as equal
from graphad.numpy._logic import greater as greater
from graphad.numpy._logic import greater_equal as greater_equal
from graphad.numpy._logic import invert as invert
from graphad.numpy._logic import isclose as isclose
from graphad.numpy._logic import isfinite as isfinite
from graphad.numpy._logic import isinf as isinf
from graphad.numpy._logic import isnan as isnan
from graphad.numpy._logic import left_shift as left_shift
from graphad.numpy._logic import less as less
from graphad.numpy._logic import less_equal as less_equal
from graphad.numpy._logic import logical_and as logical_and
from graphad.numpy._logic import logical_not as logical_not
from graphad.numpy._logic import logical_or as logical_or
from graphad.numpy._logic import logical_xor as logical_xor
from graphad.numpy._logic import not_equal as not_equal
from graphad.numpy._logic import right_shift as right_shift
from graphad.numpy._logic import select as select
from graphad.numpy._logic import where as where
from graphad.numpy._math import abs as abs
from graphad.numpy._math import absolute as absolute
from graphad.numpy._math import acos as acos
from graphad.numpy._math import arccos as arccos
from graphad.numpy._math import arcsin as arcsin
from graphad.numpy._math import arctan as arctan
from graphad.numpy._math import around as around
from graphad.numpy._math import asin as asin
from graphad.numpy._math import atan as atan
from graphad.numpy._math import ceil as ceil
from graphad.numpy._math import cos as cos
from graphad.numpy._math import cosh as cosh
from graphad.numpy._math import exp as exp
from graphad.numpy._math import exp2 as exp2
from graphad.numpy._math import expm1 as expm1
from graphad.numpy._math import floor as floor
from graphad.numpy._math import log as log
from graphad.numpy._math import log1p as log1p
from graphad.numpy._math import log2 as log2
from graphad.numpy._math import log10 as log10
from graphad.numpy._math import negative as negative
from graphad.numpy._math import positive as positive
from graphad.numpy._math import reciprocal as reciprocal
from graphad.numpy._math import rint as rint
from graphad.numpy._math import round as round
from graphad.numpy._math import sign as sign
from graphad.numpy._math import sin as sin
from graphad.numpy._math import sinh as sinh
from graphad.numpy._math import sqrt as sqrt
from graphad.numpy._math import square as square
from graphad.numpy._math import tan as tan
from graphad.numpy._math import tanh as tanh
from graphad.numpy._math import trunc as trunc
from graphad.numpy._parts import angle as angle
from graphad.numpy._parts import conj as conj
from graphad.numpy._parts import conjugate as conjugate
from graphad.numpy._parts import copysign as copysign
from graphad.numpy._parts import frexp as frexp
from graphad.numpy._parts import imag as imag
from graphad.numpy._parts import iscomplex as iscomplex
from graphad.numpy._parts import isneginf as isneginf
from graphad.numpy._parts import isposinf as isposinf
from graphad.numpy._parts import isreal as isreal
from graphad.numpy._parts import isrealobj as isrealobj
from graphad.numpy._parts import ldexp as ldexp
from graphad.numpy._parts import modf as modf
from graphad.numpy._parts import nan_to_num as nan_to_num
from graphad.numpy._parts import nextafter as nextafter
from graphad.numpy._parts import real as real
from graphad.numpy._parts import signbit as signbit
from graphad.numpy._parts import spacing as spacing
from graphad.numpy._reductions import all as all
from graphad.numpy._reductions import amax as amax
from graphad.numpy._reductions import amin as amin
from graphad.numpy._reductions import any as any
from graphad.numpy._reductions import argmax as argmax
from graphad.numpy._reductions import argmin as argmin
from graphad.numpy._reductions import average as average
from graphad.numpy._reductions import count_nonzero as count_nonzero
from graphad.numpy._reductions import cumsum as cumsum
from graphad.numpy._reductions import max as max
from graphad.numpy._reductions import mean as mean
from graphad.numpy._reductions import min as min
from graphad.numpy._reductions import prod as prod
from graphad.numpy._reductions import std as std
from graphad.numpy._reductions import sum as sum
from graphad.numpy._reductions import var as var
from graphad.numpy._shape import atleast_1d as atleast_1d
from graphad.numpy._shape import atleast_2d as atleast_2d
from graphad.numpy._shape import broadcast_arrays as broadcast_arrays
from graphad.numpy._shape import broadcast_to as broadcast_to
from graphad.numpy._shape import expand_dims as expand_dims
from graphad.numpy._shape import flip as flip
from graphad.numpy._shape import fliplr as fliplr
from graphad.numpy._shape import flipud as flipud
from graphad.numpy._shape import matrix_transpose as matrix_transpose
from graphad.numpy._shape import meshgrid as meshgrid
from graphad.numpy._shape import moveaxis as moveaxis
from graphad.numpy._shape import ndim as ndim
from graphad.numpy._shape import permute_dims as permute_dims
from graphad.numpy._shape import ravel as ravel
from graphad.numpy._shape import reshape as reshape
from graphad.numpy._shape import shape as shape
from graphad.numpy._shape import size as size
from graphad.numpy._shape import squeeze as squeeze
from graphad.numpy._shape import swapaxes as swapaxes
from graphad.numpy._shape import transpose as transpose
from graphad.numpy._sorting import argsort as argsort
from graphad.numpy._sorting import lexsort as lexsort
from graphad.numpy._sorting import median as median
from graphad.numpy._sorting import percentile as percentile
from graphad.numpy._sorting import quantile as quantile
from graphad.numpy._sorting import sort as sort
from graphad.numpy._special import acosh as acosh
from graphad.numpy._special import arccosh as arccosh
from graphad.numpy._special import arcsinh as arcsinh
from graphad.numpy._special import arctan2 as arctan2
from graphad.numpy._special import arctanh as arctanh
from graphad.numpy._special import asinh as asinh
from graphad.numpy._special import atan2 as atan2
from graphad.numpy._special import atanh as atanh
from graphad.numpy._special import cbrt as cbrt
from graphad.numpy._special import deg2rad as deg2rad
from graphad.numpy._special import degrees as degrees
from graphad.numpy._special import fabs as fabs
from graphad.numpy._special import fmax as fmax
from graphad.numpy._special import fmin as fmin
from graphad.numpy._special import heaviside as heaviside
from graphad.numpy._special import logaddexp2 as logaddexp2
from graphad.numpy._special import rad2deg as rad2deg
from graphad.numpy._special import radians as radians
from graphad.numpy._special import sinc as sinc
from graphad.trace import source as _source
from graphad.trace.array import Array as _Array

ndarray = _Array
pi = math.pi
e = math.e
inf = math.inf
nan = math.nan
newaxis = None

#: Functions of NumPy whose result has a shape that depends on values: a program of static shapes cannot have them.
_OF_UNKNOWN_SHAPE = (
    "argwhere", "compress", "extract", "flatnonzero", "intersect1d", "nonzero", "setdiff1d", "setxor1d", "trim_zeros",
    "union1d", "unique", "unique_counts", "unique_values",
)  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    if name in _OF_UNKNOWN_SHAPE:
        raise AttributeError(
            f"{_source.where()}graphad.numpy has no {name}: the shape of its result depends on values. Use "
            f"np.{name}(np.asarray(x)) outside traced functions, or a mask and graphad.numpy.where."
        )
    raise AttributeError(f"module 'graphad.numpy' has no attribute {name!r}")
