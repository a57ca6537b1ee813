"""Programs that others would write by hand."""
