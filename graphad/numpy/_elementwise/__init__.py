"""Functions of each element, of one array or of several that are broadcast."""
