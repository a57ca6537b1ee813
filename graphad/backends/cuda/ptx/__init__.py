"""From device programs to PTX and machine code."""
