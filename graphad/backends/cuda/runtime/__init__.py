"""Devices: memory, launches, streams."""
