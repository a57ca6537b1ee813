"""The pool of threads on which programs run the blocks of a loop: emitted code that every program calls."""
