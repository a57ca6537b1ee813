"""Programs for the CPU: emitted, loaded, and entered."""
