"""Graph -> Graph: derivatives (`linearize`, `transpose`) and batching (`batch`)."""
