"""Device programs as executables."""
