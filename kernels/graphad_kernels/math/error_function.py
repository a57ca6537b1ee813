"""erf, erfc and the inverse of erf.

erf is ``x + x P(x**2)`` near 0 and ``1 - exp(-G(|x|))`` beyond, with polynomials computed for this file by the Remez
exchange in 60-digit arithmetic. erfc is ``exp(-x**2) P(t) / (1 + 2x)`` with ``t = (x - k) / (x + k)``, a form that
holds from 0 to infinity (Shepherd and Laframboise, Mathematics of Computation 36, 1981); its P come from the same
exchange. erf_inv is that of Giles, "Approximating the erfinv function" (GPU Computing Gems, Jade edition, 2012).
"""

from __future__ import annotations

import numpy as np

from graphad_kernels.math.exponential import (
    double_exp_f64,
    log1p_f64,
    log_f64,
    scaled_exp_f32,
    scaled_exp_f64,
)
from graphad_kernels.math.helpers import (
    Number,
    absolute,
    bits,
    copysign,
    fma,
    horner,
    select,
    sqrt,
    to_f32,
    to_f32_bits,
    two_product,
)

_f = np.float32

# erf(x) / x - 1 in x**2, |x| <= 0.92 in float32 (error 9.8e-10) and |x| <= 1 in float64 (1.6e-17)
ERF_NEAR_F32 = (
    _f(7.974939e-05), _f(-0.0008044716), _f(0.005191994), _f(-0.026855595), _f(0.11283624), _f(-0.3761263),
    _f(0.12837917),
)  # fmt: skip
ERF_NEAR_F64 = (
    -7.579059185599797e-10, 1.3601540688326525e-08, -1.6180570398358566e-07, 1.6443719132491056e-06,
    -1.4924432331148721e-05, 0.00012055278875792485, -0.0008548325435670544, 0.005223977595835593,
    -0.026866170641869063, 0.11283791670936538, -0.3761263890318334, 0.12837916709551256,
)  # fmt: skip
# -log(1 - erf(a)), in a on 0.91..4 in float32 and in a - 2 on 0.99..6 in float64; error in erf 5.6e-11 and 2.8e-18
ERF_FAR_F32 = (
    _f(2.1038551e-05), _f(-0.0004337893), _f(0.0041677053), _f(-0.025110342), _f(0.108265676), _f(0.6333603),
    _f(1.1295081), _f(-0.0001732413),
)  # fmt: skip
ERF_FAR_F64 = (
    -1.342901507980046e-12, 1.1808461316857297e-11, -3.82859233508078e-11, 3.450720812456088e-11,
    2.832604468666105e-10, -2.5191285596587276e-09, 1.392999979304958e-08, -5.782545958642827e-08,
    1.7322625758949374e-07, -2.0361763595054412e-07, -1.952203852241975e-06, 2.0706420116716085e-05,
    -0.0001353093332039427, 0.000732399388758091, -0.0035707563460157833, 0.016465118136591423,
    0.9237508418237738, 4.418160805994423, 5.364941264616638,
)  # fmt: skip
# (1 + 2x) exp(x**2) erfc(x) in t = (x - 2) / (x + 2), x = 0..10.2, in float32 (error 3.9e-8), and in
# t = (x - 4) / (x + 4), x = 0..27.4, in float64 (5.4e-17)
ERFC_F32 = (
    _f(-0.0003994434), _f(-0.0012279947), _f(0.001313304), _f(0.0086300895), _f(-0.0080601405), _f(-0.054203883),
    _f(0.16405542), _f(-0.16603146), _f(-0.09276398), _f(1.2769784),
)  # fmt: skip
ERFC_F64 = (
    -1.7881755681201841e-09, -1.3611355135963893e-08, -7.831749234627666e-09, 1.1507386651868745e-07,
    6.28139482782277e-08, -8.346919922108845e-07, 3.0137327832555953e-07, 5.717471341177006e-06,
    -1.122488818729653e-05, -2.440295325801293e-05, 0.00015062231607059314, -0.0001992555765604665,
    -0.0007577733675579067, 0.005031969769539533, -0.01619773405384238, 0.03716751556087176, -0.06633036581211128,
    0.09373283499690134, -0.1010390660363205, 0.06809705425473399, 0.015379652102620088, -0.13962111684056286,
    1.2329951186255526,
)  # fmt: skip


def erf_f32(x: Number) -> Number:
    """Error function."""
    size = absolute(x)
    near = fma(size, horner(size * size, ERF_NEAR_F32), size)
    size = select(size > _f(4.0), _f(4.0), size)
    far = _f(1.0) - scaled_exp_f32(-horner(size, ERF_FAR_F32), 0)
    return copysign(select(size < _f(0.92), near, far), x)


def erf_f64(x: Number) -> Number:
    """Error function."""
    size = absolute(x)
    near = fma(size, horner(size * size, ERF_NEAR_F64), size)
    size = select(size > 6.0, 6.0, size)
    far = 1.0 - scaled_exp_f64(-horner(size - 2.0, ERF_FAR_F64), 0)
    return copysign(select(size < 1.0, near, far), x)


def erfc_f32(x: Number) -> Number:
    """``1 - erf(x)``, accurate where that is small."""
    size = absolute(x)
    near = _f(1.0) - fma(x, horner(x * x, ERF_NEAR_F32), x)
    size = select(size > _f(10.1), _f(10.1), size)
    short = to_f32_bits(bits(size) & -0x1000)  # 12 bits: its square is exact
    fading = scaled_exp_f32(-(short * short), 0) * scaled_exp_f32((short - size) * (short + size), 0)
    t = (size - _f(2.0)) / (size + _f(2.0))
    value = fading * (horner(t, ERFC_F32) / (_f(1.0) + _f(2.0) * size))
    value = select(x < _f(0.0), _f(2.0) - value, value)
    return select(size < _f(0.5), near, value)


def erfc_f64(x: Number) -> Number:
    """``1 - erf(x)``, accurate where that is small."""
    size = absolute(x)
    near = 1.0 - fma(x, horner(x * x, ERF_NEAR_F64), x)
    size = select(size > 27.3, 27.3, size)
    square, square_low = two_product(size, size)
    t = (size - 4.0) / (size + 4.0)
    value = double_exp_f64(-square, -square_low) * (horner(t, ERFC_F64) / (1.0 + 2.0 * size))
    value = select(x < 0.0, 2.0 - value, value)
    return select(size < 0.5, near, value)


# ---------------------------------------------------------------------------------------------------------------------
# erf_inv, float32: the operations of XLA one by one, contractions included, so that random normal numbers are JAX's.
# Its log1p is Cephes' (log1p.c) up to sqrt(2) - 1 and elsewhere log(1 + x) as Eigen evaluates Cephes' logf.

LOG1P_P = (
    _f(4.5270000862445199635215e-5), _f(4.9854102823193375972212e-1), _f(6.5787325942061044846969e0),
    _f(2.9911919328553073277375e1), _f(6.0949667980987787057556e1), _f(5.7112963590585538103336e1),
    _f(2.0039553499201281259648e1),
)  # fmt: skip
LOG1P_Q = (
    _f(1.0), _f(1.5062909083469192043167e1), _f(8.3047565967967209469434e1), _f(2.2176239823732856465394e2),
    _f(3.0909872225312059774938e2), _f(2.1642788614495947685003e2), _f(6.0118660497603843919306e1),
)  # fmt: skip
EIGEN_LOG = (
    (_f(7.0376836292e-2), _f(-1.1514610310e-1), _f(1.1676998740e-1)),
    (_f(-1.2420140846e-1), _f(1.4249322787e-1), _f(-1.6668057665e-1)),
    (_f(2.0000714765e-1), _f(-2.4999993993e-1), _f(3.3333331174e-1)),
)
GILES_F32_NEAR = (
    _f(2.81022636e-08), _f(3.43273939e-07), _f(-3.5233877e-06), _f(-4.39150654e-06), _f(0.00021858087),
    _f(-0.00125372503), _f(-0.00417768164), _f(0.246640727), _f(1.50140941),
)  # fmt: skip
GILES_F32_FAR = (
    _f(-0.000200214257), _f(0.000100950558), _f(0.00134934322), _f(-0.00367342844), _f(0.00573950773),
    _f(-0.0076224613), _f(0.00943887047), _f(1.00167406), _f(2.83297682),
)  # fmt: skip


def xla_log_f32(x: Number) -> Number:
    """Logarithm of a number in 2**-126..1."""
    pattern = bits(x)
    m = to_f32_bits((pattern & 0x7FFFFF) | 0x3F000000)
    e = to_f32((pattern >> 23) - 126)
    low = m < _f(0.707106769)
    r = (m - _f(1.0)) + select(low, m, _f(0.0))
    e = e - select(low, _f(1.0), _f(0.0))
    square = r * r
    cube = square * r
    a, b, c = horner(r, EIGEN_LOG[0]), horner(r, EIGEN_LOG[1]), horner(r, EIGEN_LOG[2])
    series = fma(fma(fma(a, cube, b), cube, c), cube, e * _f(-2.12194440e-4))
    return fma(e, _f(0.693359375), fma(_f(-0.5), square, r) + series)


def xla_log1p_f32(x: Number) -> Number:
    """log(1 + x) on -1..0."""
    square = x * x
    near = x + fma(_f(-0.5), square, (x * square) * (horner(x, LOG1P_P) / horner(x, LOG1P_Q)))
    u = x + _f(1.0)
    far = select(u > _f(0.0), xla_log_f32(u), _f(-np.inf))
    return select(absolute(x) < _f(0.41421356237), near, far)


def erf_inv_f32(x: Number) -> Number:
    """Inverse of erf, bit by bit that of XLA on CPUs with fused multiply-add; nan outside -1..1.

    Relative error 3e-7 up to |x| = 0.9; closer to 1 the rounding of ``x * x`` costs up to 2e-5.
    """
    w = -xla_log1p_f32(x * -x)
    near = w < _f(5.0)
    t = select(near, w - _f(2.5), sqrt(w) - _f(3.0))
    value = select(near, horner(t, GILES_F32_NEAR), horner(t, GILES_F32_FAR))
    size = absolute(x)
    value = select(size == _f(1.0), copysign(_f(np.inf), x), value * x)
    return select(size > _f(1.0), _f(np.nan), value)


# ---------------------------------------------------------------------------------------------------------------------
# erf_inv, float64

GILES_F64_NEAR = (
    -3.6444120640178196996e-21, -1.685059138182016589e-19, 1.2858480715256400167e-18, 1.115787767802518096e-17,
    -1.333171662854620906e-16, 2.0972767875968561637e-17, 6.6376381343583238325e-15, -4.0545662729752068639e-14,
    -8.1519341976054721522e-14, 2.6335093153082322977e-12, -1.2975133253453532498e-11, -5.4154120542946279317e-11,
    1.051212273321532285e-09, -4.1126339803469836976e-09, -2.9070369957882005086e-08, 4.2347877827932403518e-07,
    -1.3654692000834678645e-06, -1.3882523362786468719e-05, 0.0001867342080340571352, -0.00074070253416626697512,
    -0.0060336708714301490533, 0.24015818242558961693, 1.6536545626831027356,
)  # fmt: skip
GILES_F64_MIDDLE = (
    2.2137376921775787049e-09, 9.0756561938885390979e-08, -2.7517406297064545428e-07, 1.8239629214389227755e-08,
    1.5027403968909827627e-06, -4.013867526981545969e-06, 2.9234449089955446044e-06, 1.2475304481671778723e-05,
    -4.7318229009055733981e-05, 6.8284851459573175448e-05, 2.4031110387097893999e-05, -0.0003550375203628474796,
    0.00095328937973738049703, -0.0016882755560235047313, 0.0024914420961078508066, -0.0037512085075692412107,
    0.005370914553590063617, 1.0052589676941592334, 3.0838856104922207635,
)  # fmt: skip
GILES_F64_FAR = (
    -2.7109920616438573243e-11, -2.5556418169965252055e-10, 1.5076572693500548083e-09, -3.7894654401267369937e-09,
    7.6157012080783393804e-09, -1.4960026627149240478e-08, 2.9147953450901080826e-08, -6.7711997758452339498e-08,
    2.2900482228026654717e-07, -9.9298272942317002539e-07, 4.5260625972231537039e-06, -1.9681778105531670567e-05,
    7.5995277030017761139e-05, -0.00021503011930044477347, -0.00013871931833623122026, 1.0103004648645343977,
    4.8499064014085844221,
)  # fmt: skip


def erf_inv_f64(x: Number) -> Number:
    """Inverse of erf; nan outside -1..1."""
    size = absolute(x)
    # 1 - x**2 keeps its digits as a product near 1, and through log1p near 0
    w = -select(size > 0.5, log_f64((1.0 - size) * (1.0 + size)), log1p_f64(-(size * size)))
    near, middle = w < 6.25, w < 16.0
    root = sqrt(w)
    far = select(middle, horner(root - 3.25, GILES_F64_MIDDLE), horner(root - 5.0, GILES_F64_FAR))
    value = select(near, horner(w - 3.125, GILES_F64_NEAR), far)
    return select(size == 1.0, copysign(np.inf, x), value * x)
