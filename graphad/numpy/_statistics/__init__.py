"""Correlations and histograms."""
