"""The loop IR: steps over flat buffers, with its printer, verifier, analyses and rewrites."""
