"""Expressions that graphad and JAX must agree on with their first and second derivatives, by theme.

Each is differentiated by all arrays of floats that it names; `tests.faces.oracle` has the arrays. What is no float, and
must be known, is written out as an array of NumPy's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.faces.cases import each, texts

ELEMENTWISE = [
    *each(
        "np.{}(x)",
        """abs angle arcsinh arctan cbrt ceil conj cos cosh deg2rad exp exp2 expm1 fabs floor imag negative nan_to_num
        positive rad2deg real rint round sign sin sinc sinh square tan tanh trunc""",
    ),
    *each("np.{}(y)", "log log10 log1p log2 sqrt reciprocal"),
    *each("np.{}(u)", "arccos arcsin arctanh"),
    *each(
        "np.{}(x, y)",
        """add subtract multiply divide floor_divide maximum minimum fmax fmin fmod logaddexp logaddexp2 arctan2 hypot
        copysign heaviside remainder true_divide""",
    ),
    *texts("""
np.arccosh(y + 1); np.power(y, x); np.float_power(y, x); np.divmod(x, y); np.modf(x * 3); np.frexp(x)[0];
np.ldexp(x, i); np.clip(x, -s, y); np.around(A, 1); np.where(x > 0, x * y, x / y); np.where(M, A, A[:1] * u);
np.sqrt(x * x + y); np.select([x > 1, x > 0], [x * x, y], s);
np.piecewise(x, [x < 0, x > 1], [lambda v: -v * v, np.exp]); abs(A) ** 1.5; x + y * s; x - y / s; x ** 3; x ** -2;
y ** x; 2.0 ** x; y ** 0.5; x % s; x // s; 1 / y; -x * +y; divmod(x, s)[1]; x * i; i / y; x ** i; np.add(x, i);
np.power(y, i); A * numpy.float32(2); (x > y) * x; np.astype(x, 'float32') * 2; np.astype(x, float) * 2;
x.astype('float32').astype(float) ** 2; np.sinc(u); np.hypot(u, A); np.arctan2(u, A); np.logaddexp(u, A)
"""),
]

REDUCTIONS = [
    *each("np.{}(A)", "sum prod max min mean std var ptp median cumsum cumprod sort nansum nanmax nanmedian"),
    *each("np.{}(A, axis=1)", "sum prod max min mean std var ptp median cumsum cumprod sort"),
    *each("np.{}(A, axis=0)", "nanprod nanmin nanmean nanstd nanvar nancumsum nancumprod nanmedian nansum nanmax"),
    *each("np.{}(C, axis=(0, -1), keepdims=True)", "sum prod max min mean std var"),
    *each("np.{}(N, axis=1)", "nansum nanprod nanmax nanmin nanmean nancumsum"),
    *each("np.{}(x)", "cumulative_sum cumulative_prod nancumsum nancumprod"),
    *texts("""
np.sum(A, axis=1, where=M); np.prod(A, axis=0, where=M); np.mean(A, where=M); np.max(A, initial=0.5, where=M);
np.sum(x, initial=s); np.prod(x, initial=s); np.cumulative_sum(x, include_initial=True); np.sort(A, descending=True);
np.var(A, axis=0, ddof=1); np.std(C, axis=(0, 2)); np.average(A, axis=1, weights=y[:4]); np.average(x);
np.average(A, weights=A * A + 1); np.quantile(A, 0.3, axis=1); np.quantile(x, s); np.quantile(A, y / 3);
np.percentile(A, 40.0); np.quantile(x, 0.4, method='midpoint'); np.percentile(A, 30.0, axis=0, method='lower');
np.nanquantile(N, 0.3); np.nanpercentile(N, 40.0, axis=1); np.partition(x, 2)[2]; np.cov(A); np.cov(x, y);
np.cov(A, bias=True, rowvar=False); np.corrcoef(A); np.corrcoef(x, y); np.linalg.norm(x); np.linalg.norm(x, 3);
np.linalg.norm(A, axis=1); np.linalg.norm(A, 1); np.linalg.norm(x, 1); np.linalg.norm(A, 'fro');
np.linalg.norm(x, np.inf); np.histogram(x, bins=3, weights=y)[0]; np.histogram(x, 3, density=True);
np.histogram_bin_edges(x, 3); np.histogram2d(x, y, bins=2, weights=y * y); np.histogramdd(A, bins=2, weights=u[:, 0]);
np.bincount(numpy.array([0, 2, 2, 1, 0]), weights=x, length=4); np.trapezoid(x); np.trapezoid(A, dx=s);
np.trapezoid(x, y); np.diff(x); np.diff(A, 2); np.diff(x, prepend=s, append=y[:2]); np.ediff1d(A);
np.ediff1d(x, to_end=y[:2], to_begin=s); np.gradient(x); np.gradient(A); np.gradient(x, s);
np.gradient(x, np.cumsum(y)); np.gradient(C, axis=(0, 2)); np.unwrap(x * 5); np.unwrap(x * 5, period=2.0);
np.interp(s, np.cumsum(y), x); np.interp(x, np.cumsum(y), x, left=s, right=0.0);
np.interp(x, np.linspace(0, 1, 5), y, period=1.3); np.apply_over_axes(np.sum, C, [0, 2]); A.sum(0) * A.mean();
np.apply_along_axis(np.cumsum, 0, A); np.apply_along_axis(lambda v: v[:2] * v.sum(), 1, C); A.max(1) - A.min(1)
"""),
]

SHAPES = texts("""
np.reshape(A, (2, 6)); np.ravel(A) * s; np.ravel(A, order='F'); np.transpose(C, (2, 0, 1));
np.permute_dims(C, (1, 2, 0)); np.swapaxes(C, 0, 2); np.moveaxis(C, 0, -1); np.rollaxis(C, 2); np.matrix_transpose(C);
A.T ** 2; np.squeeze(u) ** 2; np.expand_dims(x, (0, 2)); np.atleast_1d(s); np.atleast_2d(x); np.atleast_3d(A);
np.broadcast_to(x, (3, 5)); np.stack(np.broadcast_arrays(u, A)); np.concatenate([x, y * 2]);
np.concat([A, A * A], axis=1); np.append(A, x); np.stack([x, y], 1); np.hstack([x, y]); np.vstack([x, y]);
np.dstack([x, y]); np.column_stack([x, y]); np.block([[A, A * A], [x[:4], y[:4]]]); np.array([s, x[0] * 2, 1.0]);
np.array([x, y]); np.asarray([x, y]); np.split(x, [2]); np.array_split(x, 3); np.hsplit(A, 2); np.vsplit(A, 3);
np.dsplit(C, 2); np.unstack(A); np.tile(x, (2, 2)); np.repeat(x, 2); np.copy(x) * 2;
np.repeat(A, numpy.array([1, 0, 2]), axis=0, total_repeat_length=3); np.roll(x, 2); np.roll(A, (1, -1), (0, 1));
np.flip(A); np.fliplr(A); np.flipud(A); np.rot90(A); np.rot90(C, 1, (1, 2)); np.resize(A, (2, 4)); np.pad(x, 2);
np.pad(A, ((1, 0), (0, 2)), constant_values=s); np.pad(x, 2, mode='reflect'); np.pad(x, 2, mode='edge');
np.pad(x, 2, mode='wrap'); np.pad(x, 2, mode='symmetric'); np.pad(A, 2, 'mean', stat_length=(2, 3));
np.pad(A, (1, 2), 'median'); np.pad(A, ((0, 2), (1, 0)), 'maximum', stat_length=2); np.pad(x, 3, 'minimum');
np.pad(A, (2, 3), 'linear_ramp', end_values=1.5); np.pad(x, (2, 7), 'reflect', reflect_type='odd');
np.pad(A, 4, 'symmetric', reflect_type='odd'); np.pad(x, 1, 'empty');
np.pad(A, 1, lambda v, w, k, o: np.where(v == 0, o['to'] * v.sum(), v), to=2.0);
np.delete(x, 1); np.delete(A, numpy.array([0, 2]), axis=1);
np.insert(x, 1, s); np.insert(A, 1, x[:4], axis=0); np.diag(A); np.diag(x); np.diagonal(C, axis1=1, axis2=2);
np.diagflat(x, 1); np.tril(A); np.triu(A, 1); np.trace(A); np.fill_diagonal(A, x[:3], inplace=False);
np.fill_diagonal(A, s, inplace=False); np.stack(np.meshgrid(x, y)); np.vander(x, 3); np.full((2, 5), x);
np.full_like(A, s); np.ones_like(x) * x; np.zeros_like(x) + x; np.linspace(x, y, 4); np.linspace(s, 1, 3);
np.logspace(x, y, 3); np.geomspace(y, y + 3, 3); np.empty_like(x) * x; np.c_[x, y]; np.r_[x, s];
np.vectorize(lambda v, t: v * t)(A, x[:4]); np.vectorize(np.dot, signature='(n),(n)->()')(A, x[:4]);
np.unstack(A, axis=1)
""")

INDEXING = texts("""
x[2] * x[-1]; x[1:4] ** 2; x[::-2]; x[:, None] * y; A[1, ::2]; A[..., 1]; C[1, :, 2] * s; x[k]; A[k, k] ** 2; A[:, k];
C[0, :, k]; C[:, k, k]; A[n]; x[numpy.array([True, False, True, True, False])]; A[numpy.eye(3, 4, dtype=bool)];
np.take(x, k) ** 2; np.take(A, k, axis=1); np.take(A, k); np.take_along_axis(A, np.argsort(A, 1), 1);
np.take_along_axis(A, np.argmax(A, 1, keepdims=True), 1); np.choose(numpy.array([0, 1, 0, 1, 1]), [x, y], mode='clip');
np.compress(numpy.array([True, False, True]), A, axis=0, size=2); np.extract(numpy.array([1, 0, 1, 1, 0]), x, size=3);
np.put(x, k, y[:3], inplace=False); np.put_along_axis(A, np.argmax(A, 1, keepdims=True), s, 1, inplace=False);
np.place(x, numpy.array([True, False, True, False, False]), y[:2], inplace=False); x.at[k].get() ** 2;
x.at[1].set(s * x[0]); x.at[k].add(y[:3]); x.at[numpy.array([0, 0, 1])].add(y[:3]); A.at[:, 0].set(y[:3]);
A.at[k, 1:].add(s); x.at[1:3].multiply(s); x.at[k].max(y[:3]); x.at[k].min(0.1); x.at[1].divide(s); x.at[1:3].power(2);
C.at[0, :, k].set(A[:, :3].T); x.at[k].subtract(y[:3]); x.at[numpy.array([0, 9])].set(s, mode='drop')
""")

PRODUCTS = texts("""
np.dot(x, y); np.dot(A, B); A @ B; np.matmul(C, D); np.matmul(x[:3], A); np.inner(x, y); np.inner(A, C); np.outer(x, y);
np.vdot(A, A * 2); np.vecdot(A, x[:4]); np.vecdot(A, A, axis=0); np.matvec(C, x[:4]); np.vecmat(x[:3], A);
np.tensordot(C, D, axes=([2, 1], [1, 2])); np.tensordot(A, B, 1); np.kron(A, B); np.cross(A[:, :3], B[:3, 0]);
np.cross(A[:, :3], A[:, 1:], axis=0); np.linalg.matmul(A, B); np.linalg.outer(x, y); np.linalg.tensordot(A, B, axes=1);
np.linalg.matrix_transpose(A) @ A; np.linalg.vecdot(A, x[:4]); np.linalg.cross(A[:, :3], D[0, :3], axis=-1);
np.linalg.diagonal(C, offset=1) ** 2; np.linalg.trace(C, offset=-1) ** 2; np.linalg.vector_norm(C, axis=(0, 2));
np.linalg.vector_norm(A, axis=0, ord=3, keepdims=True); np.linalg.matrix_norm(C); np.linalg.matrix_norm(C, ord=1);
np.linalg.matrix_norm(C, ord='nuc'); np.linalg.norm(A, 2); np.linalg.matrix_norm(C, ord=-np.inf, keepdims=True);
np.linalg.matrix_power(A[:, :3], 2); np.linalg.matrix_power(A[:, :3], -2); np.linalg.matrix_power(C[:, :, :3], 5);
np.linalg.multi_dot([x[:3], A, B, C[:, 0, :]]);
np.linalg.multi_dot([A, B, C[:, 0, :]]);
np.einsum('ij,jk->ik', A, B); np.einsum('ij->', A); np.einsum('ij->ji', A) ** 2;
np.einsum('bij,bjk->bik', C, D); np.einsum('ij,ij,ij->j', A, A, u); np.einsum('bij,jk,b,i->k', C, B, y[:2], x[:3]);
np.einsum('i,j,k->kji', x, y, x); np.einsum('ii->i', A[:, :3]); np.convolve(x, y); np.convolve(x, y[:2], mode='same');
np.correlate(x, y[:3]); np.correlate(x, y, mode='full'); np.polyval(x, y); np.polyval(x, A); np.polyadd(x, y[:3]);
np.polysub(y[:3], x); np.polymul(x, y[:3]); np.polydiv(x, y[:3]); np.polyder(x, 2); np.polyint(x, 2, k=y[:2]);
np.poly(x)
""")

LAX = [
    *each(
        "lax.{}(x)",
        """abs asinh atan cbrt ceil cos cosh erf erfc exp exp2 expm1 floor logistic neg round sign sin sinh square tan
        tanh cumsum cumprod cummax cummin cumlogsumexp""",
    ),
    *each("lax.{}(y)", "log log1p sqrt rsqrt reciprocal"),
    *each("lax.{}(u)", "acos asin atanh erf_inv"),
    *each("lax.{}(x, y)", "add sub mul div max min rem atan2 dot"),
    *each("lax.{}(C, axes=(0, 2))", "reduce_sum reduce_max reduce_min reduce_prod"),
    *each("lax.{}(A, axis=1, reverse=True)", "cumsum cumprod cummax cummin cumlogsumexp"),
    *texts("""
lax.acosh(y + 1); lax.pow(y, x); lax.integer_pow(x, 3); lax.integer_pow(x, -2); lax.clamp(-0.5, x, 0.5); lax.dot(A, B);
lax.clamp(x - 1, x * 2, x + 1); lax.select(x > 0, x * x, y); lax.convert_element_type(x, 'float32');
lax.convert_element_type(x * x, float); lax.sort(A); lax.stop_gradient(x) * x; lax.broadcast(x, (2,));
lax.broadcast_in_dim(u, (3, 2, 4), (0, 2)); lax.reshape(A, (2, 6)); lax.transpose(C, (2, 0, 1)); lax.rev(A, (0, 1));
lax.concatenate([A, A * A], 1); lax.slice(A, (0, 1), (3, 4), (2, 1)); lax.slice_in_dim(A, 1, 3, axis=1);
lax.pad(x, s, [(1, 2, 1)]); lax.pad(A, s, [(1, 0, 0), (0, -1, 2)]); lax.full((2,), s); lax.full_like(x, s);
lax.expand_dims(x, (0,)); lax.squeeze(u, (1,)); lax.sort((x, y), num_keys=1); lax.optimization_barrier((x * y, A));
lax.dot_general(C, D, (((2,), (1,)), ((0,), (0,)))); lax.dot_general(A, B, (((1,), (0,)), ((), ())));
lax.top_k(A, 2)[0]; lax.dynamic_slice(A, (n, n), (1, 2)); lax.dynamic_slice_in_dim(A, n, 2);
lax.dynamic_index_in_dim(A, 1); lax.dynamic_update_slice(A, B[:2], (n, n));
lax.dynamic_update_slice_in_dim(x, y[:2], n, 0); lax.dynamic_update_index_in_dim(A, x[:4], n - 1, 0);
lax.reduce_window(A, 0.0, lax.add, (2, 2), (1, 1), 'VALID');
lax.reduce_window(A, -numpy.inf, lax.max, (2, 2), (1, 2), 'SAME'); lax.conv_transpose(C, D, (2,), 'SAME');
lax.reduce_window(A, numpy.inf, lax.min, (2, 1), (1, 1), 'VALID');
lax.scan(lambda c, x: (np.sin(c) * x, c + x), s, x)[1]; lax.map(lambda v: v * v.sum(), A);
lax.fori_loop(0, 3, lambda i, v: np.sin(v) * y, x); lax.associative_scan(lambda a, b: a * b, y);
lax.while_loop(lambda v: v.sum() < 50, lambda v: v * v, y + 2);
lax.cond(n > 0, lambda: x * y, lambda: x); lax.switch(n, [lambda v: v, lambda v: v * v, np.sin], y);
lax.custom_root(lambda v: v * y - x, x, lambda f, v: v - f(v) / y, lambda g, w: w / g(np.ones_like(w)));
lax.custom_linear_solve(lambda v: y * v, x, lambda f, w: w / f(np.ones_like(w)), symmetric=True);
lax.conv(C[None], D.reshape(4, 2, 3, 1), (1, 2), 'VALID'); lax.conv(x[None, None], y[None, None, :3], (1,), 'SAME');
lax.conv_with_general_padding(C[None], D.reshape(4, 2, 3, 1), (2, 1), [(1, 2), (0, 1)], (1, 1), (1, 1));
lax.conv_general_dilated(C, D, (1,), [(1, 1)], (2,), (1,), ('NWC', 'WIO', 'NWC'));
lax.conv_general_dilated(C, A[:, None, :2], (1,), 'SAME', (1,), (2,), ('NCW', 'OIW', 'NCW'), 3)
"""),
]  # fmt: skip

NN = [
    *each(
        "nn.{}(x)",
        """celu elu gelu hard_sigmoid hard_silu hard_tanh identity leaky_relu log_sigmoid log_softmax logmeanexp
        logsumexp mish relu relu6 selu sigmoid silu soft_sign softmax softplus sparse_plus sparse_sigmoid squareplus
        tanh""",
    ),
    *texts("""
nn.celu(x, s); nn.elu(x, s); nn.leaky_relu(x, s); nn.squareplus(x, s); nn.gelu(x, approximate=False); nn.log1mexp(y);
nn.glu(A); nn.glu(A, axis=1) * s; nn.softmax(C, axis=(0, 2)); nn.log_softmax(A, axis=0); nn.logsumexp(A, axis=1);
nn.logsumexp(A, b=A * A, axis=0); nn.softmax(A, where=M, axis=0); nn.logmeanexp(A, axis=1); nn.standardize(A);
nn.standardize(A, axis=0, mean=x[:4], epsilon=0.1); nn.one_hot(k, 4) @ B; nn.logsumexp(A, axis=1, keepdims=True) - A;
nn.dot_product_attention(C[None], C[None] * 2, C[None] + 1);
nn.dot_product_attention(C[None], C[None] * 2, C[None] + 1, is_causal=True);
nn.dot_product_attention(D[None], D[None] * s, D[None], scale=0.3)
"""),
]

RANDOM = texts("""
x + y * random.normal(random.key(1), (5,)); x + y * random.gumbel(random.key(2), (5,));
x + y * random.laplace(random.key(3), (5,)); x * random.exponential(random.key(4), (5,));
x * random.cauchy(random.key(5), (5,)); x + y * random.logistic(random.key(6), (5,));
y * random.maxwell(random.key(7), (5,)); random.uniform(random.key(8), (5,), minval=x, maxval=x + y);
random.truncated_normal(random.key(8), x, x + y); random.pareto(random.key(10), y); random.rayleigh(random.key(11), y);
random.weibull_min(random.key(12), y, y + 1); random.wald(random.key(13), y); random.lognormal(random.key(14), y);
random.double_sided_maxwell(random.key(15), x, y); random.triangular(random.key(16), x - y, x, x + y);
random.multivariate_normal(random.key(17), x, numpy.eye(5, dtype='f'));
np.where(random.bernoulli(random.key(18), 0.5, (5,)), x / 0.5, 0.0); random.permutation(random.key(19), x) * x;
random.choice(random.key(20), x, (3,)) ** 2; nn.sigmoid((x + random.logistic(random.key(21), (5,))) / s);
nn.softmax((A + random.gumbel(random.key(22), (3, 4))) / s);
np.exp(x + y * random.normal(random.key(23), (7, 5))).mean(0)
""")

COLLECTIVES = texts("""
vmap(lambda v: np.sin(v) * lax.psum(v * v, 'i'), axis_name='i')(A); vmap(lambda v: v - lax.pmean(v, 'i'), 1, 1, 'i')(A);
vmap(vmap(lambda v: v * lax.psum(v, ('i', 'j')), axis_name='j'), axis_name='i')(C);
vmap(lambda v: lax.all_gather(v, 'i', axis=1) * v[:, None] ** 2, axis_name='i')(A);
vmap(lambda v: lax.all_gather(v, 'i', tiled=True).sum() * v, axis_name='i')(A);
vmap(lambda v: lax.psum_scatter(v * v, 'i') * s, axis_name='i', in_axes=1)(A[:, :3]);
vmap(lambda v: lax.all_to_all(v * v, 'i', 1, 0) * lax.axis_index('i'), axis_name='i')(D[:, :2].transpose((0, 2, 1)));
vmap(lambda v: lax.pswapaxes(v, 'i', 0) * v, axis_name='i')(A[:, :3]);
vmap(lambda v: v * lax.ppermute(v, 'i', ((0, 2), (1, 0), (2, 1))), axis_name='i')(A);
vmap(lambda v: v * lax.pshuffle(v, 'i', (1, 2, 0)), axis_name='i')(A);
vmap(grad(lambda v: np.exp(v) * lax.pmean(v * v, 'i')), axis_name='i')(x)
""")

#: Small programs, each of one idea.
PROGRAMS = texts("""
np.exp(-0.5 * ((x - s) / y) ** 2) / y; -np.sum(nn.softmax(x) * nn.log_softmax(x));
np.sum(x * y) / np.sqrt(np.sum(x * x)); np.log1p(np.exp(-x * np.sign(y - 1))).mean(); np.tanh(A @ B + x[:2]).sum(1);
np.maximum(A @ B, 0) @ x[:2]; nn.logsumexp(-0.5 * (x[:, None] - y) ** 2, axis=1).mean();
(A - A.mean(0)) / np.sqrt(A.var(0) + 1e-3); np.where(np.abs(x) < 1, 0.5 * x * x, np.abs(x) - 0.5).sum();
np.sum((x[1:] - x[:-1]) ** 2) + s * np.sum(np.abs(x)); np.prod(np.cos(x)) + np.sum(np.sin(y)) ** 2;
np.cumsum(np.cumsum(x) * y)[-1]; np.einsum('i,ij,kj->k', x[:3], A, A);
np.sqrt(((A[:, None] - A[None] + numpy.eye(3, dtype='f')[..., None]) ** 2).sum(-1));
np.sum(np.triu(A[:, :3] @ A[:, :3].T, 1)); np.linalg.norm(A - x[:4], axis=1).max();
np.mean(np.sort(x)[1:4]) - np.median(y); np.interp(s, np.linspace(0, 1, 5), x) ** 2;
np.polyval(x, np.polyval(y, s) / 9); np.convolve(np.tanh(x), nn.softmax(y));
(np.outer(x, y) / (1 + np.outer(y, y))).trace();
np.stack([np.cos(s) * x - np.sin(s) * y, np.sin(s) * x + np.cos(s) * y]); np.average(x, weights=np.exp(-y));
grad(lambda t: np.sum(np.sin(t * x)))(s) * y; vmap(lambda row: row / np.sqrt(row @ row))(A); jit(np.hypot)(x, y) * x;
vmap(grad(lambda a, b: np.exp(a * b)))(x, y); checkpoint(lambda t: np.sin(np.exp(t)))(u); vmap(np.outer)(A, C[0])
""")

SCIPY = texts("""
scipy.linalg.block_diag(A, s, x) ** 2; scipy.linalg.toeplitz(x) ** 2; scipy.linalg.toeplitz(x * y, y[:3]) ** 2
""")

#: By theme: the functions of a theme are compiled as one program.
IN_BOTH = {
    "elementwise": ELEMENTWISE,
    "reductions": REDUCTIONS,
    "shapes": SHAPES,
    "indexing": INDEXING,
    "products": PRODUCTS,
    "lax": LAX,
    "nn": NN,
    "random": RANDOM,
    "collectives": COLLECTIVES,
    "scipy": SCIPY,
    "programs": PROGRAMS,
}

#: Functions that JAX does not have, or has no derivative of.
OURS_ALONE = texts("""
np.nextafter(x, y); np.spacing(x); nn.layer_norm(A, x[:4], y[:4]); nn.rms_norm(A, x[:4]); nn.group_norm(C, 2);
nn.batch_norm(A, x[:4], y[:4])[0]; nn.dropout(random.key(1), 0.5, x); nn.max_pool(C[..., None], (2, 2));
nn.min_pool(C[..., None], (2, 2)); nn.avg_pool(C[..., None], (2, 2)); lax.nextafter(x, y);
random.shuffle(random.key(1), x) * x; x.at[1].apply(np.exp); x.at[numpy.array([0, 0, 1])].multiply(y[:3]);
vmap(lambda v: lax.pmax(v, 'i') * v - lax.pmin(v * v, 'i'), axis_name='i')(A);
scipy.linalg.hankel(x, y[:3]) ** 2; scipy.linalg.circulant(x) ** 2; scipy.linalg.companion(x);
scipy.linalg.fiedler(x) ** 2; scipy.linalg.fiedler_companion(x); scipy.linalg.leslie(x, y[:4]) ** 2;
scipy.linalg.convolution_matrix(x, 3, 'same') ** 2;
scipy.sparse.linalg.cg(A[:, :3] @ A[:, :3].T + numpy.eye(3), y[:3], tol=1e-13)[0];
scipy.sparse.linalg.gmres(A[:, :3] + 4 * numpy.eye(3), y[:3], tol=1e-13)[0];
scipy.sparse.linalg.bicgstab(A[:, :3] + 4 * numpy.eye(3), y[:3], tol=1e-13)[0]
""")

#: What differences say nothing of: casts to floats that are coarser than their steps, and what is held fixed.
_NOT_BY_DIFFERENCES = ("float32", "stop_gradient")

#: What is held against differences, to the second order.
CHECKED = [
    text
    for texts in (*IN_BOTH.values(), OURS_ALONE)
    for text in texts
    if not any([word in text for word in _NOT_BY_DIFFERENCES])
]


def called(module: str, expressions: Iterable[str]) -> set[str]:
    """The functions of a module, by the name it has in the expressions, that they call."""
    return {name for text in expressions for name in re.findall(rf"\b{module}\.(\w+)", text)}


def variants(expressions: Iterable[str]) -> set[str]:
    """Those that call only functions that the ones before them call as well."""
    seen: set[str] = set()
    found = set()
    for text in expressions:
        names = set(re.findall(r"\b(?:np|nn|lax|random|scipy)\.[\w.]+", text))
        if names and names <= seen:
            found.add(text)
        seen |= names
    return found
