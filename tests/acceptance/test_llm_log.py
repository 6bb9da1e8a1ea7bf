"""A log that the program ``llm`` really wrote: what was said to the fake provider comes in."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Document, lines
from tests.fake_provider import FakeProvider
from tests.program import Chatcli

VERSION = "0.36"
LLM = ("uvx", "--quiet", "--from", f"llm=={VERSION}", "llm")
MODELS = """
- model_id: {name}
  model_name: {name}
  api_base: {url}
  api_key_name: fake
  vision: true
"""


@pytest.fixture(scope="module")
def llm() -> tuple[str, ...]:
    """The program, from the package index or its cache."""
    if shutil.which("uvx") is None:
        pytest.skip(f"uvx, which runs llm {VERSION}, is not installed")
    try:
        subprocess.run([*LLM, "--version"], capture_output=True, timeout=120, check=True)
    except (subprocess.SubprocessError, OSError):
        pytest.skip(f"llm {VERSION} can't be had from the package index")
    return LLM


def test_a_real_log(
    chatcli: Chatcli, fake_provider: FakeProvider, llm: tuple[str, ...], tmp_path: Path
) -> None:
    """Threads, turns, system prompts, fragments and images of llm become threads of ours."""
    home = tmp_path / "llm"
    home.mkdir()
    (home / "extra-openai-models.yaml").write_text(MODELS.format(name="echo", url=fake_provider.url))
    (home / "keys.json").write_text('{"fake": "sk-none"}')
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "note.txt").write_text("a fragment\n")

    def say(*words: str) -> None:
        environment = {**os.environ, "LLM_USER_PATH": str(home)}
        subprocess.run([*llm, "-m", "echo", *words], env=environment, cwd=tmp_path, timeout=120, check=True)

    say("first\n words")
    say("-c", "second words")
    say("-s", "be brief", "with a system prompt")
    say("look", "--at", "x.png", "image/png")
    say("-f", "note.txt", "and words")
    done = chatcli("import", str(home / "logs.db"), "--json")
    assert done.returncode == 0, done.stderr
    assert len(lines(done)) == 4
    assert {line["action"] for line in lines(chatcli("import", str(home / "logs.db"), "--json"))} == {"keep"}
    threads: list[Document] = [
        json.loads(chatcli("history", thread["id"], "--json").stdout)
        for thread in lines(chatcli("history", "--json"))
    ]
    said = [
        [[(message["role"], message["content"]) for message in turn["messages"]] for turn in thread["turns"]]
        for thread in threads
    ]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    assert said == [
        [[("human", "a fragment\n\nand words"), ("ai", "a fragment\n\nand words")]],
        [[("human", [{"type": "text", "text": "look"}, image]), ("ai", "look")]],
        [[("system", "be brief"), ("human", "with a system prompt"), ("ai", "with a system prompt")]],
        [
            [("human", "first\n words"), ("ai", "first\n words")],
            [("human", "second words"), ("ai", "second words")],
        ],
    ]
    assert threads[0]["turns"][0]["usage"] == {"input_tokens": 7, "output_tokens": 3}
    shown = chatcli("chat", "-m", "offline", "-t", threads[2]["id"], "go on", "--json")
    assert shown.returncode == 0
