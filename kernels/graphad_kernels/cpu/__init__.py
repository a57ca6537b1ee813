"""Routines for the CPU."""
