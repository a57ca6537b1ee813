"""Elements arranged: other shapes and axes, arrays joined, split, repeated, turned round."""
