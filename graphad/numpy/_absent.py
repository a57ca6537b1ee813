"""What is said of names that `graphad.numpy`, and places of linear algebra, do not have."""

from __future__ import annotations

from graphad.trace import source

#: Functions of NumPy whose result has a shape that depends on values: a program of static shapes cannot have them.
_OF_UNKNOWN_SHAPE = (
    "intersect1d", "setdiff1d", "setxor1d", "trim_zeros", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values",
)  # fmt: skip


def absent(name: str) -> AttributeError:
    """The error for a name that is not there."""
    if name in _OF_UNKNOWN_SHAPE:
        return AttributeError(
            f"{source.where()}graphad.numpy has no {name}: the shape of its result depends on values. Use "
            f"np.{name}(np.asarray(x)) outside traced functions, or a mask and graphad.numpy.where."
        )
    return AttributeError(f"module 'graphad.numpy' has no attribute {name!r}")


#: Functions of matrices whose results are complex numbers: what to use instead, and the call of another library.
_COMPLEX = {
    "eig": ("eigh for symmetric matrices, scipy.linalg.schur for blocks of real numbers", "np.linalg.eig"),
    "eigvals": ("eigvalsh for symmetric matrices, scipy.linalg.schur for blocks of real numbers", "np.linalg.eigvals"),
    "rsf2csf": ("what schur gives, blocks of real numbers, as it is", "scipy.linalg.rsf2csf"),
}


def absent_from(module: str, name: str) -> AttributeError:
    """The error for a name that a module of linear algebra does not have."""
    if name in _COMPLEX:
        other, call = _COMPLEX[name]
        arguments = "np.asarray(t), np.asarray(z)" if name == "rsf2csf" else "np.asarray(a)"
        return AttributeError(
            f"{source.where()}{module} has no {name}: its results are complex, and there are no complex numbers yet. "
            f"Use {other}, or {call}({arguments}) outside traced functions."
        )
    return AttributeError(f"module {module!r} has no attribute {name!r}")
