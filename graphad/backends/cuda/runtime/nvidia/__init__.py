"""NVIDIA's driver and libraries."""
