"""The machine that instructions work on: its threads, its memory, and what a launch knows of both."""
