"""What the entry's machine code reads about one program: structures that `make` fills and `entry.code` walks."""

from __future__ import annotations

import ctypes
from typing import Final

_pointer = ctypes.c_void_p
_word = ctypes.c_int64


class InputRow(ctypes.Structure):
    """What one argument must be."""

    _fields_ = [
        ("descr", _pointer),  # the array's dtype object
        ("ndim", _word),
        ("shape", _pointer),
        ("plain", _word),  # whether an array that is not in a box will do
        ("mark", _pointer),  # what the mark slot of a box must hold; null: anything
        ("scalar", _word),  # one of SCALARS: a Python number is taken too
        ("bound", _pointer),  # of the inputs behind the arguments: the array itself
    ]


class OutputRow(ctypes.Structure):
    """What is allocated for one result, and how it is handed out."""

    _fields_ = [
        ("typenum", _word),
        ("ndim", _word),
        ("shape", _pointer),
        ("large", _word),  # whether its memory is a block of the store
        ("wrap", _pointer),  # a Python callable; null: none
        ("mark", _pointer),  # for the mark slot of the box; null: no box
    ]


class Spec(ctypes.Structure):
    """One program: where it is, what it takes and gives."""

    _fields_ = [
        ("program", _pointer),
        ("arguments", _word),  # the first of the inputs
        ("inputs", _word),
        ("results", _word),  # the first of the outputs
        ("outputs", _word),
        ("input_rows", _pointer),
        ("output_rows", _pointer),
        ("arena_bytes", _word),
        ("arena", _pointer),  # aligned; null: a block of the store, in each call
        ("arena_taken", _word),
        ("extras", _word),
        ("extra_pointers", _pointer),
        ("flush_denormals", _word),
        ("release_gil", _word),
        ("unpack", _word),  # a single result comes without a tuple
        ("fallback", _pointer),
        ("on_guard", _pointer),
        ("box_type", _pointer),  # null: no boxes
        ("value_slot", _word),
        ("mark_slot", _word),
        ("store", _pointer),
        ("handler", _pointer),  # by which NumPy asks the store for memory
    ]


# Python numbers that an argument may be, by the dtype they are converted to.
SCALARS: Final = {"float32": 1, "float64": 2, "int32": 3, "int64": 4, "bool": 5}
#: Added to that of a float: the number is an np.float64, not a float of Python's.
FROM_NUMPY: Final = 5
ARENA_ALIGNMENT: Final = 64
FLUSH_BITS: Final = 0x8040  # flush to zero, denormals are zero
