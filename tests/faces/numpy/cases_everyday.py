"""More expressions that `graphad.numpy` and ``jax.numpy`` must agree on: statistics, searching, polynomials, grids."""

from __future__ import annotations

from tests.faces.cases import each, texts

NAN = [
    *each("np.{}({})", "nansum nanprod nanmax nanmin nanmean nanvar nanstd", "N A I b"),
    *each("np.{}(N, axis={})", "nansum nanprod nanmax nanmin nanmean nanvar nanstd nanargmax nanargmin", "0 1"),
    *each("np.{}(N, axis=1, keepdims=True)", "nansum nanmax nanmean nanstd nanargmax nanmedian"),
    *each("np.{}({})", "nanargmax nanargmin", "N A I b"),
    *texts("""
np.nanmedian(N); np.nanmedian(N, axis=0); np.nanquantile(N, 0.3); np.nanquantile(N, y[:2] / 2, axis=1);
np.nanquantile(A, 0.3, axis=(0, 1), keepdims=True); np.nanpercentile(N, 40.0, axis=1);
np.nanpercentile(N, 40.0, axis=1, method='lower'); np.nansum(N, where=M); np.nanvar(N, axis=0, ddof=1);
np.nanmax(N, initial=0.5); np.nanmean(N, axis=0, where=M)
"""),
]

STATISTICS = texts("""
np.ptp(A); np.ptp(A, axis=1); np.ptp(I, axis=0, keepdims=True); np.cov(A); np.cov(A, rowvar=False); np.cov(x, y);
np.cov(A, bias=True); np.cov(A, ddof=0); np.cov(x); np.cov(I); np.corrcoef(A); np.corrcoef(x, y); np.corrcoef(x);
np.cov(A, fweights=numpy.array([1, 2, 0, 3])); np.cov(A, aweights=y[:4]); np.bincount(I.ravel(), length=5);
np.bincount(k, length=4); np.bincount(k, weights=x[:3], length=4); np.bincount(k, minlength=5, length=2);
np.histogram(x); np.histogram(x, bins=3); np.histogram(A, bins=4, range=(-1.0, 1.0));
np.histogram(x, bins=np.linspace(-2, 2, 5)); np.histogram(x, bins=4, weights=y); np.histogram(x, 3, density=True);
np.histogram(I, bins=4); np.histogram_bin_edges(x, 3); np.histogram_bin_edges(i, 3, range=(0, 6));
np.histogram2d(x, y, bins=3)[0]; np.histogram2d(x, y, bins=(2, 3)); np.histogramdd(A.T, bins=2)
""")  # fmt: skip

SEARCH = [
    *each("np.searchsorted(np.sort({}), {}, side='{}')", "x I.ravel()", "y i s w", "left right"),
    *texts("""
np.searchsorted(np.sort(w), w); np.searchsorted(np.sort(w), w, side='right'); np.searchsorted(x, y, sorter=k);
np.digitize(x, np.linspace(-1, 1, 4)); np.digitize(A, np.linspace(1, -1, 4)); np.digitize(I, k * 3, right=True);
np.digitize(x, np.linspace(1, -1, 4), right=True); np.isin(I, k); np.isin(I, k, invert=True); np.isin(x, x[1:3]);
np.interp(x, np.sort(y), A[0, 0] + y); np.interp(A, np.linspace(-1, 1, 5), x); np.interp(s, np.linspace(0, 1, 5), x);
np.interp(x, np.linspace(-1, 1, 5), y, left=0.0, right=s); np.interp(x, np.linspace(0, 1, 5), y, period=1.3);
np.interp(i, np.arange(5), i); np.interp(w, np.linspace(-1, 1, 5), y)
"""),
]

DIFFERENCES = texts("""
np.diff(x); np.diff(x, 2); np.diff(A, axis=0); np.diff(I); np.diff(b); np.diff(A, prepend=0); np.diff(q);
np.diff(A, append=A, axis=0); np.diff(x, 0); np.diff(x, 7); np.ediff1d(A); np.ediff1d(x, to_end=y[:2], to_begin=1.5);
np.gradient(x); np.gradient(A); np.gradient(A, axis=1); np.gradient(x, 0.5);
np.gradient(x, np.cumsum(y)); np.gradient(C, axis=(0, 2)); np.gradient(i); np.trapezoid(x); np.trapezoid(A, dx=0.5);
np.trapezoid(A, axis=0); np.trapezoid(x, y); np.trapezoid(A, y[:4]); np.trapezoid(I); np.trapezoid(A, A, axis=0);
np.unwrap(x * 5); np.unwrap(A * 9, axis=0); np.unwrap(x * 5, period=2.0); np.unwrap(x * 9, discont=4.0);
np.unwrap(i); np.unwrap(i, period=4)
""")

POLYNOMIALS = texts("""
np.polyval(x, y); np.polyval(k, i); np.polyval(x, A); np.polyval(x, 2); np.polyval(k, 0.5); np.polyadd(x, y[:3]);
np.polysub(y[:3], x); np.polyadd(k, x); np.polymul(x, y[:3]); np.polymul(i, k); np.polydiv(x, y[:3]); np.polyder(x);
np.polydiv(y[:2], x); np.polyder(x, 2); np.polyder(i); np.polyder(x, 5); np.polyder(x, 0); np.polyint(x);
np.polyint(x, 2); np.polyint(x, 2, k=y[:2]); np.polyint(i); np.polyint(x, 2, k=1.5); np.poly(x); np.poly(y);
np.vander(x); np.vander(x, 3); np.vander(i, 4, increasing=True); np.vander(x, 0)
""")

LINEAR = texts("""
np.cross(A[:, :3], B[:3, 0]); np.cross(x[:3], y[:3]); np.cross(x[:2], y[:2]); np.cross(x[:2], y[:3]);
np.cross(A[:, :3], A[:, 1:], axis=0); np.cross(C[..., :3], D[:, :3], axisc=0); np.kron(A, B); np.kron(x, A);
np.kron(2.0, x); np.kron(I, k); np.vecdot(A, A); np.vecdot(A, x[:4]); np.vecdot(A, A, axis=0); np.vecdot(i, j);
np.matvec(A, x[:4]); np.matvec(C, x[:4]); np.matvec(C, A[:2]); np.vecmat(x[:3], A); np.vecmat(A[:2, :3], C);
np.diagflat(A[:2, :2]); np.diagflat(x, 1); np.einsum('ij,jk,kl->il', A, B, C[:, 0, :], optimize='optimal');
np.einsum('a,ab,bc,ce->e', x[:3], A, B, np.ones((2, 3)), optimize=False); np.einsum('ij,ij,ij->j', A, A, u);
np.einsum('bij,jk,b,i->k', C, B, y[:2], x[:3]); np.einsum('i,j,k->kji', x, y, i, optimize=[(0, 2), (0, 1)]);
np.linalg.matmul(C, D); np.linalg.matrix_transpose(C); np.linalg.tensordot(A, B, axes=1);
np.linalg.cross(A[:, :3], B[:3, 0]); np.linalg.cross(i[:3], j[:3]); np.linalg.cross(C[0, :, :3], A[:, 1:], axis=0);
np.linalg.diagonal(C); np.linalg.diagonal(C, offset=-1); np.linalg.diagonal(M, offset=9); np.linalg.trace(C);
np.linalg.trace(I, offset=1); np.linalg.trace(I, dtype=float); np.linalg.outer(i, x); np.linalg.outer(e[:, 0], x);
np.linalg.vecdot(A, x[:4]); np.linalg.vecdot(C, D[:, :3, :1], axis=1); np.linalg.vector_norm(C);
np.linalg.vector_norm(C, axis=(0, -1)); np.linalg.vector_norm(I, axis=0, keepdims=True); np.linalg.vector_norm(w[5:]);
np.linalg.vector_norm(C, keepdims=True, ord=0); np.linalg.vector_norm(A, axis=1, ord=np.inf);
np.linalg.vector_norm(A, axis=1, ord=-np.inf); np.linalg.vector_norm(A, ord=1); np.linalg.vector_norm(s, ord=3);
np.linalg.vector_norm(e[:, 0], ord=np.inf); np.linalg.vector_norm(A, axis=0, ord=-2.5); np.linalg.matrix_norm(C);
np.linalg.matrix_norm(I, keepdims=True); np.linalg.matrix_norm(C, ord=1); np.linalg.matrix_norm(C, ord=-1);
np.linalg.matrix_norm(C, ord=np.inf); np.linalg.matrix_norm(C, ord=-np.inf, keepdims=True);
np.linalg.matrix_norm(e, ord=np.inf); np.linalg.norm(A, 'f', keepdims=True); np.linalg.matrix_power(A[:, :3], 0);
np.linalg.matrix_power(A[:, :3], 1); np.linalg.matrix_power(A[:, :3], 3); np.linalg.matrix_power(C[:, :, :3], 2);
np.linalg.matrix_power(C[:, :, 1:], 7); np.linalg.matrix_power(I[:, :3], 5); np.linalg.multi_dot([A, B]);
np.linalg.multi_dot([x[:3], A]); np.linalg.multi_dot([x[:3], A, x[:4]]); np.linalg.multi_dot([I, B, C[:, 0, :]]);
np.linalg.multi_dot([A.T, A, A.T, A, B]); np.linalg.multi_dot([e.T, e, A])
""")

SHAPES = texts("""
np.atleast_3d(1.0); np.atleast_3d(x); np.atleast_3d(A, C); np.concat([x, i]); np.dstack([x, y]); np.dstack([A, I]);
np.block([[A, A], [x[:4], y[:4]]]); np.block([x, 1.0]); np.block(s); np.block([[[C]], [[C]]]); np.hsplit(A, 2);
np.hsplit(x, [2]); np.vsplit(A, 3); np.dsplit(C, [1, 3]); np.unstack(A); np.unstack(A, axis=1); np.delete(x, 1);
np.delete(x, -1); np.delete(A, numpy.array([0, 2]), axis=1); np.delete(A, slice(1, 3), axis=0); np.delete(A, 5);
np.delete(x, numpy.array([True, False, True, False, False])); np.insert(x, 1, 9.0); np.insert(x, 5, y[:2]);
np.insert(A, 1, x[:4], axis=0); np.insert(A, numpy.array([1, 3]), 5.0, axis=1); np.insert(A, -1, x[:3], axis=1);
np.insert(x, numpy.array([0, 4, 4]), y[:3]); np.insert(i, slice(0, 2), 7); np.resize(x, (2, 4)); np.resize(A, 5);
np.resize(e, (2,)); np.rot90(A); np.rot90(A, 2); np.rot90(A, -1); np.rot90(C, 1, (1, 2)); np.rollaxis(C, 2);
np.rollaxis(C, 0, 3); np.rollaxis(C, 1, -1); np.copy(x); np.apply_along_axis(np.cumsum, 0, A);
np.apply_along_axis(lambda v: v[:2] * v.sum(), 1, C); np.apply_along_axis(np.sum, -1, A);
np.apply_over_axes(np.sum, C, [0, 2]);
np.piecewise(x, [x < 0, x > 1], [lambda v: -v, 7.0]); np.piecewise(x, [x < 0], [np.square, np.exp]);
np.vectorize(lambda v, t: v * t)(A, x[:4]); np.vectorize(np.dot, signature='(n),(n)->()')(A, x[:4]);
np.vectorize(np.matmul, signature='(n,m),(m,k)->(n,k)')(C, B); np.vectorize(lambda v: (v + 1, v))(u);
np.vectorize(lambda v, t: v ** t, excluded={1})(x, 2); np.vectorize(np.dot, signature='(n),(n)->()')(C, C[:, :1])
""")

GRIDS = texts("""
np.tri(3); np.tri(2, 4, 1); np.tri(3, dtype=int); np.tril_indices(3); np.triu_indices(3, 1); np.tril_indices(3, -1, 5);
np.tril_indices_from(A); np.triu_indices_from(A, 1); np.diag_indices(3); np.diag_indices(2, 3);
np.diag_indices_from(A[:, :3]); np.mask_indices(3, np.triu); np.indices((2, 3)); np.indices((2, 3), sparse=True);
np.indices((2,), dtype=float); np.fromfunction(lambda a, c: a * 2 + c, (2, 3)); A[np.ix_(k, k)];
I[np.ix_(numpy.array([True, False, True]), numpy.array([0, 3]))]; np.mgrid[0:3, 1:3]; np.mgrid[0:1:4j]; np.mgrid[2:5];
np.ogrid[0:3, 1:3]; np.mgrid[0:1:3j, 0:2]; np.r_[1:4, 0, 4]; np.r_[x, 1.0]; np.c_[x, y]; np.r_[0:1:3j];
np.unravel_index(I % 6, (2, 3)); np.unravel_index(5, (2, 3)); np.unravel_index(i, (2, 3));
np.ravel_multi_index((k % 2, k), (2, 3), mode='clip'); np.ravel_multi_index((i, j), (2, 3), mode='wrap');
np.ravel_multi_index((k, k), (3, 4), mode='clip', order='F'); np.logspace(0, 2, 5); np.logspace(0, 2, 5, base=2.0);
np.logspace(0, 3, 4, endpoint=False); np.geomspace(1, 1000, 4); np.geomspace(-1.0, -8.0, 4); np.geomspace(y, y + 3, 3);
np.hanning(5); np.hamming(6); np.blackman(5); np.bartlett(7); np.hanning(1); np.hanning(0)
""")

CHOICES = texts("""
np.put(x, k, y[:3], inplace=False); np.put(A, i, 5.0, inplace=False); np.put(x, i, y, mode='clip', inplace=False);
np.put(x, i, 1.0, mode='wrap', inplace=False); np.put_along_axis(A, I[:, :1] % 3, 7.0, 1, inplace=False);
np.put_along_axis(A, np.argmax(A, 0, keepdims=True), x[:4][None], 0, inplace=False); np.argpartition(x, 2)[2];
np.put_along_axis(A, k, 0.0, None, inplace=False); np.place(x, x > 0, y[:2], inplace=False);
np.fill_diagonal(A, 5.0, inplace=False); np.fill_diagonal(A.T, x[:3], inplace=False); np.partition(x, 2)[2];
np.fill_diagonal(np.zeros((2, 2, 2)), 1.0, inplace=False);
np.fill_diagonal(np.zeros((5, 2)), 1.0, wrap=True, inplace=False);
np.choose(I % 2, [A, u], mode='clip'); np.choose(i, [x, y, 0.0], mode='clip'); np.choose(i, [x, y], mode='wrap');
np.nonzero(I % 3, size=6); np.nonzero(b, size=9, fill_value=-1); np.flatnonzero(I % 2, size=4);
np.argwhere(I % 5, size=3); np.extract(x > 0, x, size=4); np.compress(b, x, size=2);
np.compress(b[:3], A, axis=0, size=3);
np.array_equiv(x, x); np.array_equiv(u, A); np.array_equiv(x, A)
""")

# Their values are needed: these cannot be traced.
CONCRETE = texts("""
np.nonzero(I % 3); np.nonzero(b); np.flatnonzero(x > 0); np.argwhere(I % 2); np.extract(x > 0, x); np.compress(b, x);
np.compress(b[:3], A, axis=0); np.bincount(k); np.bincount(k, minlength=6)
""")

QUESTIONS = texts("""
np.broadcast_shapes((3, 1), (4,)); np.can_cast('int32', 'float64'); np.can_cast('float64', 'int32');
np.isdtype(x.dtype, 'real floating'); np.isdtype(i.dtype, ('bool', 'integral')); np.isdtype(b.dtype, 'numeric');
np.isscalar(2.0); np.isscalar(x); np.isscalar(s); np.iterable(x); np.iterable(1.0); np.euler_gamma;
np.s_[1:2, ...]; np.index_exp[1]; numpy.asarray(np.frombuffer(bytes(8), dtype='float32')).tolist();
np.einsum_path('ij,jk,kl->il', A, B, C[:, 0, :])[0]; np.single == numpy.float32
""")

ALIASES = [
    *each("np.{}(u)", "acos asin atan"),
    *each("np.{}(i, j)", "bitwise_or bitwise_xor bitwise_and"),
    *texts("np.around(x, 1); np.invert(I); np.bitwise_not(i); np.pow(y, x); np.lexsort((k, i[:3]))"),
]

EVERYDAY = [
    *NAN, *STATISTICS, *SEARCH, *DIFFERENCES, *POLYNOMIALS, *LINEAR, *SHAPES, *GRIDS, *CHOICES, *ALIASES,
]  # fmt: skip
