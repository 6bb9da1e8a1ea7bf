"""Stores of threads, each behind a URL."""
