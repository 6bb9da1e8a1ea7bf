"""Chat with language models from the command line; conversations last."""

__version__ = "0.1.0"
