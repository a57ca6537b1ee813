"""The intermediate representation: types and graphs; how they are built, printed, parsed, checked and evaluated."""

from __future__ import annotations
