"""Expressions that `graphad.numpy` and ``jax.numpy`` must agree on, by theme; `tests.faces.oracle` has the arrays."""

from __future__ import annotations

from itertools import product

UNARY = """
exp exp2 expm1 log log1p log2 log10 sqrt square reciprocal sin cos tan arcsin arccos arctan sinh cosh tanh negative
positive abs absolute sign floor ceil trunc rint round logical_not isnan isinf isfinite
"""
BINARY = """
add subtract multiply divide true_divide floor_divide remainder mod fmod power float_power maximum minimum logaddexp
equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor
"""
REDUCERS = "sum prod max min any all mean var std"


def texts(text):
    """The expressions of a text, which are separated by semicolons."""
    return [case.strip() for line in text.strip().splitlines() for case in line.split(";") if case.strip()]


def each(template, *choices):
    """The template filled with every combination of choices, each a text of words."""
    return [template.format(*words) for words in product(*[c.split() for c in choices])]


ELEMENTWISE = [
    *each("np.{}({})", UNARY, "y w i 1.5 2"),
    *each("np.{}({})", "sqrt exp sin sign abs floor square", "c h g q"),
    *each("np.{}(b)", "sin exp abs square logical_not sqrt reciprocal isnan"),
    *each("np.{}({})", BINARY, "x,y u,A i,j x,2 1.5,i"),
    *each("np.{}(b, b[::-1])", "add multiply maximum minimum equal less greater_equal"),
    *each("{1} {0} {2}", "+ - * / // % == != < <= > >=", "x i 3.0", "y j"),
    *each("{1} {0} {2}", "+ - * / // % == != < <= > >=", "y i", "2.0 2"),
    *each("{1} {0} {2}", "** // %", "y 2.0", "x i 2 -1.5"),
    *each("{1} {0} {2}", "+ * /", "c h", "q g x[:3] 1.5"),
    *each("{1} {0} {2}", "& | ^ << >>", "I 5", "I 3"),
    *each("{1} {0} {2}", "& | ^", "b M", "True M[:,:1]"),
    *texts("""
x ** 2; x ** -2; x ** 0; x ** 3; i ** 2; 2 ** I; i ** k[1]; abs(j) ** I[0, 1]; x ** i; y ** 0.5; 2.0 ** i;
(-2) ** I; b ** 2; q >> 1; c >> 1; ~i; ~b; -x; +x; abs(x); divmod(i, j); divmod(x, y); divmod(7, j); round(x, 1);
np.round(x, 2); np.clip(x, -1, 1); np.clip(i, 0); np.clip(x, None, 0.5); x.clip(0); np.where(x > 0, x, 0);
np.where(b, x, y); np.where(b, 1, 2.5); np.where(M, A, A[0]); np.where(x, 1.0, i); np.where(True, x, 0.0);
np.select([x > 1, x > 0], [x, y], 7); np.isclose(x, x + 1e-9); np.isclose(w, w, equal_nan=True); np.isclose(w, w);
np.allclose(x, x); np.array_equal(x, x); np.array_equal(x, y); np.array_equal(x, A); np.bitwise_and(i, 3);
np.right_shift(i, 1); np.left_shift(k, k); w % 2.0; w // 2.0; x // 0.0; x > i; s * x; s + n; n / 2; h * 2.0; s ** n;
np.logaddexp(w, w); np.logaddexp(x, 1.0); np.maximum(w, 1.0); np.hypot(w, 1.0); np.hypot(x, y); np.hypot(u, A)
"""),
]

REDUCTIONS = [
    *each("np.{}({})", REDUCERS + " argmax argmin cumsum", "A x I b"),
    *each("np.{}(s)", REDUCERS + " argmax argmin"),
    *each("np.{}(C, axis={})", REDUCERS, "1 -1 (0,2)"),
    *each("np.{}(C, axis=1, keepdims=True)", REDUCERS + " argmax argmin"),
    *each("np.{}(C, axis=())", "sum prod any all mean var std"),
    *each("np.{}(e, axis=0)", "sum prod any all"),
    *each("np.{}({})", "sum prod max mean cumsum", "c q h g"),
    *each("np.{}(A, axis=1, where=M)", "sum prod mean var std any all"),
    *texts("""
np.max(A, axis=1, initial=-1.0, where=M); np.min(A, initial=0.5); np.sum(A, initial=2); np.prod(A, initial=2);
np.sum(x, dtype='float16'); np.mean(i, dtype='float16'); np.max(w); np.min(w); np.argmax(w); np.argmin(w);
np.argmax(C, axis=-1); np.cumsum(C, axis=1); np.cumsum(A); np.cumsum(b); np.cumsum(c, dtype='int32');
np.var(x, ddof=1); np.std(A, axis=0, ddof=1); np.var(x[:1], ddof=1); np.mean(1.0); np.sum(3); np.max(b);
np.count_nonzero(I); np.count_nonzero(M, axis=1); np.average(x); np.average(A, axis=1, weights=x[:4]);
np.average(A, weights=A); A.sum(0); A.mean(axis=1); A.max(); A.min(1); A.prod(); A.any(); A.all(0); A.argmax();
A.argmin(0); A.cumsum(1); A.var(); A.std(0); np.amax(A); np.amin(A, 0); e.sum(); np.linalg.norm(x);
np.linalg.norm(A); np.linalg.norm(A, axis=1); np.linalg.norm(x, 1); np.linalg.norm(x, 3); np.linalg.norm(x, np.inf);
np.linalg.norm(A, 1); np.linalg.norm(A, -np.inf); np.linalg.norm(A, 'fro', keepdims=True); np.linalg.norm(x, 0);
np.linalg.norm(i)
"""),
]

SHAPES = texts("""
np.reshape(A, (2, 6)); np.reshape(A, (4, -1)); A.reshape(2, -1); A.reshape((6, 2)); np.reshape(A, -1);
np.reshape(A, (2, 6), order='F'); np.reshape(e, (3, 0)); np.reshape(s, (1, 1)); A.ravel(); A.flatten();
np.ravel(A, order='F'); np.ravel(1.0); e.ravel(); A.T; C.T; C.mT; np.transpose(C, (2, 0, 1)); C.transpose(0, 2, 1);
C.transpose((1, 0, -1)); np.moveaxis(C, 0, -1); np.moveaxis(C, (0, 1), (-1, 0)); np.swapaxes(C, 0, 2);
C.swapaxes(1, -1); np.squeeze(u); np.squeeze(u, 1); u.squeeze(); u.squeeze(-1); np.expand_dims(x, 0);
np.expand_dims(x, (0, -1)); np.expand_dims(1.0, 0); np.flip(A); np.flip(A, 1); np.flip(C, (0, 2)); np.fliplr(A);
np.flipud(A); np.broadcast_to(x, (2, 5)); np.broadcast_to(u, (3, 4)); np.broadcast_to(1.0, (2,));
np.broadcast_arrays(u, x[:4]); np.atleast_1d(s); np.atleast_2d(x); np.atleast_2d(s, x); np.meshgrid(x, y);
np.meshgrid(x, y[:2], indexing='ij'); np.meshgrid(x, y, sparse=True); np.meshgrid(x); np.concatenate([x, y]);
np.concatenate([A, A], axis=1); np.concatenate([x, i]); np.concatenate([A, A], axis=None); np.concatenate([c, q]);
np.concatenate(A); np.concatenate([x, e[:, 0]]); np.stack([x, y]); np.stack([x, y], axis=1); np.stack([x, i], -1);
np.stack([1.0, 2]); np.stack(A); np.vstack([x, y]); np.vstack([A, A]); np.hstack([x, y]); np.hstack([A, A]);
np.hstack([1.0, s]); np.column_stack([x, y]); np.append(x, 1.0); np.append(A, A, axis=0); np.split(x[:4], 2);
np.split(A, [1, 3], 1); np.array_split(x, 2); np.array_split(A, 3, 1); np.tile(x, 2); np.tile(A, (2, 1, 3));
np.tile(A, 2); np.tile(1.0, 3); np.repeat(x, 3); np.repeat(A, 2, axis=1);
np.repeat(A, numpy.array([1, 0, 2]), axis=0); np.repeat(x, 2, total_repeat_length=12); np.roll(x, 2);
np.roll(x, -7); np.roll(A, 1); np.roll(A, (1, 2), (0, 1)); np.roll(A, 1, axis=0); np.roll(e, 1, 0); np.pad(x, 2);
np.pad(A, ((1, 0), (0, 2))); np.pad(A, 1, constant_values=7); np.pad(x, 1, constant_values=(1, 2));
np.pad(x, 2, mode='edge'); np.pad(A, 2, mode='reflect'); np.pad(x, (1, 3), mode='symmetric');
np.pad(x, 7, mode='wrap'); np.pad(i, 1); np.pad(A, 2, 'mean'); np.pad(i, 2, 'mean', stat_length=2);
np.pad(A, (1, 2), 'median', stat_length=(2, 3)); np.pad(I, 1, 'maximum'); np.pad(w, 1, 'minimum');
np.pad(A, (2, 3), 'linear_ramp', end_values=(1, 2)); np.pad(s, 3, 'mean'); np.pad(A, 1, 'empty');
np.pad(x, 9, 'reflect', reflect_type='odd'); np.pad(A, (3, 5), 'symmetric', reflect_type='odd');
np.pad(C, ((0, 0), (0, 0), (1, 2)), constant_values=s); np.diag(x);
np.diag(x, 2); np.diag(x, -1); np.diag(A); np.diag(A, 1);
np.diag(A, -2); np.diagonal(C, 1, 1, 2); np.diagonal(C); np.trace(A); np.trace(C, axis1=1, axis2=2); np.tril(A);
np.triu(A, 1); np.tril(C, -1); np.triu(I); np.tril(M); np.diag(b); np.permute_dims(A, (1, 0));
np.matrix_transpose(C)
""")

PRODUCTS = texts("""
np.dot(x, y); np.dot(A, B); np.dot(A, x[:4]); np.dot(x[:3], A); np.dot(C, B); np.dot(C, D); np.dot(2.0, x);
np.dot(s, A); np.dot(i, x); np.dot(i, j); np.dot(b, b); np.dot(h, h); np.dot(c, q); A @ B; x @ y; C @ D; C @ B;
A @ D; x[:3] @ A; x[:3] @ C; A @ x[:4]; C @ x[:4]; C[:, None] @ D; I @ B; np.matmul(D, C); np.vdot(A, A);
np.vdot(A, x[0] * A); np.inner(A, A); np.inner(x, y); np.inner(C, A); np.inner(x, 2.0); np.outer(x, y);
np.outer(A, i); np.outer(2.0, x); np.tensordot(C, D, 0); np.tensordot(C, A); np.tensordot(C, D, ((1, 2), (2, 1)));
np.tensordot(C, D, (2, 1)); np.einsum('ij,jk', A, B); np.einsum('ij,jk->ki', A, B); np.einsum('bij,bjk->bik', C, D);
np.einsum('bij,bjk->ik', C, D); np.einsum('ii', A[:, :3]); np.einsum('ii->i', A[:, :3]); np.einsum('ij->', A);
np.einsum('ij->j', A); np.einsum('i,i', x, y); np.einsum('i,j->ji', x, y); np.einsum('...ij,jk->...ik', C, B);
np.einsum('i...,i...', A, A); np.einsum('ij,jk,kl->il', A, B, C[:, 0, :]); np.einsum('i,i,i->', x, y, i);
np.einsum('ij,ij->ij', A, u); np.einsum('bij,b->ij', C, y[:2]); np.einsum('i,i', i, j);
np.einsum('...,...', A, 2.0); np.einsum('iij->j', np.stack([A[:2], A[1:]], 0)); np.einsum('ji', A);
np.matmul(I, I.T)
""")

CREATION = texts("""
np.array(1.0); np.array(1); np.array(True); np.array([1.0, 2]); np.array([1, 2]); np.array([True, False]);
np.array([[1, 2], [3, 4.5]]); np.array([]); np.array([[]]); np.array((1, 2), dtype='float32'); np.array([x, y]);
np.array([s, 2.0]); np.array([[s, 1], [2, n]]); np.array([i, x]); np.array(x, dtype='int32'); np.array(x, ndmin=2);
np.array([1, 2, True]); np.array(numpy.float32(2)); np.array(numpy.int8([1, 2])); np.array([numpy.float32(1), 2]);
np.asarray(1.5); np.asarray([1, 2.5]); np.asarray(x); np.asarray(i, float); np.zeros(3); np.zeros((2, 0));
np.zeros((2, 3), 'int32'); np.ones(()); np.ones(2, bool); np.ones((2,), int); np.empty(2); np.full(2, 7);
np.full((2, 2), 1.5); np.full(2, 7.5, int); np.full(2, s); np.full((2, 5), x); np.zeros_like(x); np.ones_like(i);
np.zeros_like(1.0); np.full_like(i, 2.5); np.full_like(x, 3); np.full_like(x, 3, 'int8');
np.ones_like(x, shape=(2,)); np.full_like(x, s); np.empty_like(A); np.eye(3); np.eye(2, 4, 1);
np.eye(3, k=-1, dtype=int); np.identity(2); np.arange(5); np.arange(2, 5); np.arange(5, 0, -2); np.arange(3.0);
np.arange(0, 1, 0.1); np.arange(1, 3.5); np.arange(5, dtype='float32'); np.arange(0); np.arange(5, 1);
np.arange(0.5, 3); np.arange(4, dtype='int8'); np.linspace(0, 1, 5); np.linspace(0, 1);
np.linspace(-1.5, 2, 7, endpoint=False); np.linspace(0, 10, 5, dtype=int); np.linspace(0, 1, 1);
np.linspace(0, 1, 0); np.linspace(x, y, 4); np.linspace(x, y, 4, axis=-1); np.linspace(0, 1, 3, retstep=True);
np.linspace(s, 1, 3); np.astype(x, int); x.astype('int32'); x.astype(float); x.astype(bool); i.astype('float16');
w[5:].astype(int); np.float32(3); np.int32(2.7); np.float16(x); np.bool_(x); np.int8([1, 2]); s.astype('bfloat16');
np.float32(1) * 2; np.pi * s; np.float32(2) ** 3; x.real; x.copy(); x.round(1); x.dot(y); x.conj()
""")

INDEXING = texts("""
x[0]; x[-1]; x[1:3]; x[::2]; x[::-1]; x[4:0:-2]; x[3:1]; x[...]; x[None]; x[:, None]; A[1]; A[1, 2]; A[:, 1];
A[..., 0]; A[None, ..., None]; A[1:, ::2]; A[-1, ::-1]; C[1, :, 2]; C[:, 0]; C[..., 1:3, :]; s[()]; s[None]; s[...];
e[:, 1]; x[k]; x[k[:, None]]; A[k]; A[k, k]; A[k, 1]; A[1, k]; A[:, k]; A[k, 1:]; A[1:, k]; A[k, None]; A[None, k];
C[0, :, k]; C[:, k, 0]; C[k[:2] % 2, :, k[:2]]; C[0, k, k]; C[:, k, k]; C[0, :, :][k]; C[k % 2, 1:, None, k];
C[None, 0, ..., k]; C[..., k]; x[n]; A[n]; A[n, n]; A[:, n]; A[n, 1:3]; A[-n]; x[-k]; x[k - 1]; x[i]; A[j, i];
x[numpy.array([0, 3])]; x[numpy.array([[0], [-1]])]; A[numpy.array([0, 1]), 1:];
x[numpy.array([True, False, True, True, False])]; A[numpy.array([True, False, True])];
A[:, numpy.array([True, False, True, True])]; A[numpy.eye(3, 4, dtype=bool)]; C[0, numpy.eye(3, 4, dtype=bool)];
x[c[:1]]; x[q[:1]]; A[numpy.zeros((0,), int)]; list(x[:2]); [row for row in A]; x[numpy.int64(1)]; I[k, k]; M[k];
A[k][:, k]; x[1:][k]; np.take(x, k); np.take(A, k, axis=1); np.take(A, k); np.take(x, i);
np.take(x, i, mode='clip'); np.take(x, i, mode='wrap'); np.take(I, i); np.take(A, n, axis=0); A.take(k, 1);
np.take(A, k[:, None], 0); np.take_along_axis(A, np.argmax(A, 1, keepdims=True), 1);
np.take_along_axis(A, I % 3, 0); np.take_along_axis(A, I % 3, 1); np.take_along_axis(A, k[:, None] - 9, 1);
np.take_along_axis(A, k, None); np.take_along_axis(A, I[:1] % 3, 1); x.at[1].get(); x.at[i].get();
x.at[i].get(mode='fill'); x.at[i].get(mode='fill', fill_value=-1); x.at[i].get(mode='clip');
x.at[1:3].get(mode='fill', fill_value=0)
""")

UPDATES = [
    *each("x.at[{}].{}({})", "1 -2", "set add multiply min max", "2.0 s"),
    *each("x.at[{}].{}({})", "1:4 k ::-2", "set add multiply min max", "y[:3] 3"),
    *each("x.at[i].{}({})", "set add multiply min max", "3 y"),
    *each("A.at[{}].{}({})", "1 n -1", "set add mul", "x[:4] s"),
    *each("A.at[{}].{}({})", ":,1 ...,0 k,k k,0 k,n", "set add mul", "x[:3] 2"),
    *each("A.at[{}].{}({})", "k,1: 1:,k", "set add mul", "s A[:1,:3]"),
    *each("A.at[{}].{}({})", "k k,None n,::2 None,0", "set add mul", "s"),
    *texts("""
C.at[0, :, k].set(A[:, :3].T); C.at[:, k, k].add(1.0); C.at[1, k, 1:3].multiply(B[:3]); x.at[i].set(y);
C.at[k % 2, :, k].set(A[:, :3]); x.at[:].set(1); x.at[...].add(y); s.at[()].set(2); s.at[...].add(1.0);
e.at[:].set(1.0); x.at[0:0].set(1.0); i.at[1].set(7); i.at[k].add(k); i.at[k].multiply(2); b.at[1].set(True);
x.at[1].divide(2); x.at[1:3].power(2); x.at[k].subtract(1); i.at[1].power(2); x.at[i].add(y); x.at[i].max(y);
x.at[numpy.array([0, 0, 1])].add(1.0); x.at[numpy.array([0, 0, 1])].multiply(2.0); c.at[0].set(5);
x.at[numpy.array([True, False, True, True, False])].set(9.0); A.at[numpy.eye(3, 4, dtype=bool)].set(0.0);
x.at[numpy.array([0, 9])].set(1.0, mode='clip'); x.at[k].set(1.0, mode='drop', unique_indices=True);
x.at[1].apply(np.exp); A.at[k, 0].apply(lambda v: v * 2); np.asarray(1.0).at[()].add(2); h.at[0].set(1.5)
"""),
]

# What is no array: questions about shapes and dtypes.
QUESTIONS = texts("""
np.shape(A); np.ndim(A); np.size(A); np.size(A, 1); np.result_type(x, 1.0); np.result_type(i, 1.5);
np.result_type(c, q); np.result_type(c, 'float16'); np.promote_types('int32', 'float16');
np.issubdtype(x.dtype, np.floating); np.issubdtype(g.dtype, np.floating); np.issubdtype(np.int8, np.integer);
x.dtype == np.int32; c.dtype == np.int8; np.finfo(g.dtype).eps; np.finfo(np.float32).max; np.iinfo(np.int8).min;
len(A); A.nbytes; A.itemsize; A.size; A.ndim; A.shape; float(s); int(n); bool(s); i.tolist(); x[1].item() == x[1];
np.iscomplexobj(x); np.pi; np.e; np.inf; np.newaxis; numpy.asarray(A).shape
""")

ALL = [*ELEMENTWISE, *REDUCTIONS, *SHAPES, *PRODUCTS, *CREATION, *INDEXING, *UPDATES]
