"""Providers of models, and the table of their names."""
