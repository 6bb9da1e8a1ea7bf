"""The command `info`: what is in force, where it came from, and whether it works."""

import json
import sys
from typing import TYPE_CHECKING

from chatcli import __version__

if TYPE_CHECKING:
    from tests.fake_provider import FakeProvider
    from tests.program import Chatcli

CANARY = "sk-canary-0123456789"


def test_facts_as_json(chatcli: "Chatcli") -> None:
    """One document has version, paths, model, engine, store, and every setting with its origin."""
    done = chatcli("info", "--json", "--model", "offline", env={"OPENAI_API_KEY": CANARY})
    facts = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert facts["version"] == __version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["store"] == f"sqlite:///{chatcli.database}"
    assert facts["model"] == {"name": "offline", "engine": "offline"}
    assert facts["paths"]["data"] == str(chatcli.database.parent)
    settings = {row["name"]: row for row in facts["settings"]}
    assert settings["CHATCLI_MODEL"] == {
        "name": "CHATCLI_MODEL",
        "value": "offline",
        "origin": "flag --model",
    }
    assert settings["OPENAI_API_KEY"]["value"] == "set"
    assert settings["GROQ_API_KEY"]["value"] == "not set"
    assert settings["MAX_CONVERSATION_LENGTH"]["origin"] == "default"
    assert "check" not in facts


def test_facts_for_people(chatcli: "Chatcli") -> None:
    """Without --json the same stands in lines; a secret never does; nothing is created by looking."""
    done = chatcli("info", env={"OPENAI_API_KEY": CANARY, "LOG_LEVEL": "debug"})
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.startswith(f"chatcli {__version__}, Python 3.")
    assert "\nmodel   openai:gpt-6-luna (wire)\n" in text
    assert f"\nstore   sqlite:///{chatcli.database}\n" in text
    assert [line.split() for line in text.splitlines() if line.startswith("LOG_LEVEL")] == [
        ["LOG_LEVEL", "DEBUG", "environment"]
    ]
    assert CANARY not in text
    assert not chatcli.database.parent.exists()


def test_no_model_is_said_not_raised(chatcli: "Chatcli") -> None:
    """With neither key nor model the rest is shown all the same, and the way to a model with it."""
    done = chatcli("info")
    assert done.returncode == 0
    assert b"OPENAI_API_KEY or GROQ_API_KEY" in done.stdout
    assert "error" in json.loads(chatcli("info", "--json").stdout)["model"]


def test_check_opens_the_store_and_asks_the_provider(
    chatcli: "Chatcli", fake_provider: "FakeProvider"
) -> None:
    """--check says that both work, with the models that are offered."""
    env = {"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": fake_provider.url}
    done = chatcli("info", "--check", "--json", env=env)
    check = json.loads(done.stdout)["check"]
    assert done.returncode == 0
    assert check["store"]["ok"] is True
    assert check["model"]["ok"] is True
    assert check["model"]["models"]
    done = chatcli("info", "--check", env=env)
    assert done.returncode == 0
    assert b"check   store: works\n" in done.stdout
    assert b"check   model: works; " in done.stdout


def test_check_fails_with_the_first_failure(chatcli: "Chatcli") -> None:
    """What does not work is shown with its hint, and its exit code is the program's."""
    done = chatcli("info", "--check", "--json")
    assert done.returncode == 78
    check = json.loads(done.stdout)["check"]
    assert check["store"]["ok"] is True
    assert check["model"]["error"]["type"] == "urn:chatcli:config"
    chatcli.database.write_bytes(b"no database at all" * 1000)
    done = chatcli("info", "--check", "--model", "offline")
    assert done.returncode == 65
    assert b"check   store: " in done.stdout
    assert b"check   model: works; offline\n" in done.stdout


def test_a_setting_that_can_not_be_used_is_an_error(chatcli: "Chatcli") -> None:
    """Broken settings are named, as by every command."""
    done = chatcli("info", env={"CHATCLI_STORE": "nonsense"})
    assert (done.returncode, done.stdout) == (78, b"")
    assert b"CHATCLI_STORE" in done.stderr


def test_settings_are_gated_on_a_terminal(chatcli: "Chatcli") -> None:
    """A path with control characters does not reach a terminal as it is."""
    home = str(chatcli.home / "a\x1b[2Jb")
    _, shown = chatcli.on_terminal("info", env={"XDG_DATA_HOME": home, "NO_COLOR": "1", "PAGER": "cat"})
    assert "\x1b" not in shown
    assert "a␛[2Jb" in shown
