"""Mio's Poll in Python."""
