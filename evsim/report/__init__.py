"""Counts and energies as tables and JSON."""
