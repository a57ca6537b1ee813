"""`BoundedDict`: a dict of bounded size, for caches."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V]):
    """A dict that evicts its oldest quarter when it has ``limit`` entries and gets another by ``[key] = value``.

    Look-ups are those of dict: eviction is first in, first out, whatever is used often.

    Examples
    --------
    >>> squares = BoundedDict(4)
    >>> for n in range(6):
    ...     squares[n] = n * n
    >>> list(squares)
    [2, 3, 4, 5]
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self.limit and key not in self:
            for old in list(self)[: max(1, self.limit // 4)]:
                self.pop(old, None)  # another thread may have evicted it already
        super().__setitem__(key, value)
