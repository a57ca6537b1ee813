"""The devices that tests run on: the emulated one, and the GPUs that are there."""

from __future__ import annotations

import graphad

DEVICES = [d for d in graphad.devices() if d.kind == "cuda"]
