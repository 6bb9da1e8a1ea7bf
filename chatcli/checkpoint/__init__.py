"""LangGraph's checkpoints on any `ThreadStore`, with the messages of chat threads in the log."""

from chatcli.checkpoint.messages import from_langchain, to_langchain
from chatcli.checkpoint.saver import ThreadSaver
from chatcli.checkpoint.turns import TURN_KEY, TurnHandle

__all__ = ["TURN_KEY", "ThreadSaver", "TurnHandle", "from_langchain", "to_langchain"]
