"""Device programs as texts and tables for people."""
