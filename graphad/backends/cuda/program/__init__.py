"""Device programs, as data."""
