"""Axes reduced to one number each: sums, extrema, averages, quantiles; and running ones."""
