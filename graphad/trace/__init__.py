"""Tracing: from Python functions to graphs, with Python's own control flow as guards."""
