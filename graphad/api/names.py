"""What a module of the faces offers to ``dir``."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar


def listing(namespace: dict[str, Any], *also: str) -> Callable[[], list[str]]:
    """The ``__dir__`` of a module: what it offers, without what it is made with.

    A package gathers what it offers, a module defines it; ``also`` names what is neither, and modules within.
    """
    package = "__path__" in namespace

    def offered(name: str, value: Any) -> bool:
        if name.startswith("_") or name == "annotations" or isinstance(value, (ModuleType, TypeVar)):
            return False
        return package or getattr(value, "__module__", None) == namespace["__name__"]

    def names() -> list[str]:
        return sorted({*also, *[name for name, value in namespace.items() if offered(name, value)]})

    return names
