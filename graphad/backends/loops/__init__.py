"""The loop IR: steps over flat buffers, with its text, its checks, and what is counted and rewritten in it."""
