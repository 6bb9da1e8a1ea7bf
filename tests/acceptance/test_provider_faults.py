"""Every fault of a provider as a person meets it: exit code, state of the turn, and what is said."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.conftest import KEY
from tests.fake_provider import FakeProvider
from tests.program import Chatcli

SILENT = {"hang", "silent", "stall"}
"""Only a timeout ends these; no other one may depend on how busy the machine is."""
QUICK = {"CHATCLI_TIMEOUT_FIRST_TOKEN": "1", "CHATCLI_TIMEOUT_IDLE": "1", "CHATCLI_TIMEOUT_TOTAL": "60"}
PATIENT = {"CHATCLI_TIMEOUT_TOTAL": "60"}


@dataclass(frozen=True)
class Fault:
    """What the provider does, and what must come of it."""

    model: str
    code: int
    state: str
    text: bool = False
    requests: int = 1


FAULTS = [
    Fault("err-401", 77, "failed"),
    Fault("err-403", 77, "failed"),
    Fault("err-404", 78, "failed"),
    Fault("err-context", 65, "failed"),
    Fault("err-429-long", 75, "failed"),
    Fault("err-quota", 77, "failed"),
    Fault("err-500", 69, "failed", requests=3),
    Fault("err-502-html", 69, "failed", requests=3),
    Fault("hang", 69, "failed"),
    Fault("silent", 69, "failed"),
    Fault("stall", 69, "truncated", text=True),
    Fault("drop", 69, "truncated", text=True),
    Fault("no-finish", 76, "truncated", text=True),
    Fault("length", 0, "truncated", text=True),
    Fault("filter", 0, "truncated", text=True),
    Fault("filter-empty", 65, "failed"),
    Fault("empty", 76, "failed"),
    Fault("done-only", 76, "failed"),
    Fault("html-200", 76, "failed"),
    Fault("garbage", 76, "truncated", text=True),
    Fault("error-mid", 76, "truncated", text=True),
    Fault("no-choices", 76, "failed"),
    Fault("redirect", 76, "failed"),
    Fault("err-503-then-ok", 0, "complete", text=True, requests=2),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.model)
def test_fault(fault: Fault, online: Chatcli, fake_provider: FakeProvider, history: Any) -> None:
    """The fault has its exit code, the turn its true state, no key is shown, and the next turn works."""
    env = QUICK if fault.model in SILENT else PATIENT
    done = online("chat", "-m", f"openai:{fault.model}", "-t", "faulty", "hello", env=env)
    assert done.returncode == fault.code, done.stderr
    assert bool(done.stdout) is fault.text
    assert KEY.encode() not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    assert len(fake_provider.requests()) == fault.requests
    assert fake_provider.second_host_connections() == 0
    if fault.code or fault.state == "truncated":
        assert done.stderr.strip(), "an end like that is said"

    (turn,) = history("faulty")["turns"]
    assert turn["state"] == fault.state
    human, *answers = turn["messages"]
    assert human["content"] == "hello"
    assert "".join(answer["content"] for answer in answers).encode() == done.stdout
    assert KEY.encode() not in b"".join(
        file.read_bytes() for file in online.database.parent.iterdir() if file.is_file()
    )

    assert online("chat", "-m", "openai:any", "-t", "faulty", "again").returncode == 0
    assert [turn["state"] for turn in history("faulty")["turns"]] == [fault.state, "complete"]


def test_refused_connection(online: Chatcli, history: Any) -> None:
    """A provider that is not there is 69, and the prompt is kept."""
    done = online(
        "chat", "-m", "openai:any", "-t", "t", "hello", env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    )
    assert done.returncode == 69
    assert history("t")["turns"][0]["state"] == "failed"


def test_a_turn_without_an_answer_stays_out_of_the_context(
    online: Chatcli, fake_provider: FakeProvider
) -> None:
    """A failed turn is in the history, but the model is not shown its prompt again."""
    online("chat", "-m", "openai:err-401", "-t", "t", "lost")
    online("chat", "-m", "openai:any", "-t", "t", "found")
    messages = fake_provider.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in messages[1:]] == ["found"]
