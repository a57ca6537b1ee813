"""Device programs for people to look at."""
