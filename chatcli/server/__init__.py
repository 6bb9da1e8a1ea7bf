"""The HTTP API over `ChatService`; nothing outside the command `serve` imports what is in here."""
