"""From graphs to loops."""
