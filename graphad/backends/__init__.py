"""From graphs to programs that run: loops (`lower`), then a target (`cpu`, `cuda`)."""
