"""What to write in place of Python's loops and branches over traced values: the user's own, as one equation.

The text is made from the source. Where that cannot be read there is none; where a statement cannot be rewritten as it
stands, a sentence says what is in the way.
"""
