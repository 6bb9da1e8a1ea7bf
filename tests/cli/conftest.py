"""The program for the tests of its commands."""

from pathlib import Path

import pytest

from tests.program import Chatcli


@pytest.fixture
def chatcli(tmp_path: Path) -> Chatcli:
    """The program, with a home of its own."""
    return Chatcli.at(tmp_path)
