"""What a provider does wrong, as HTTP tells it."""

import pytest

from tests.fake_provider import FakeProvider
from tests.server.peer import KEY, Server

BEFORE_THE_FIRST_TOKEN = [
    ("err-401", 502, "provider-auth"),
    ("err-403", 502, "provider-auth"),
    ("err-404", 502, "config"),
    ("err-context", 422, "too-long"),
    ("err-429-long", 429, "provider-rate-limited"),
    ("err-quota", 502, "provider-auth"),
    ("err-500", 502, "provider-unavailable"),
    ("err-502-html", 502, "provider-unavailable"),
    ("err-503", 502, "provider-unavailable"),
    ("hang", 504, "provider-timeout"),
    ("silent", 504, "provider-timeout"),
    ("filter-empty", 422, "content-filtered"),
    ("empty", 502, "provider-protocol"),
    ("done-only", 502, "provider-protocol"),
    ("html-200", 502, "provider-protocol"),
    ("error-first", 502, "provider-protocol"),
    ("no-choices", 502, "provider-protocol"),
    ("redirect", 502, "provider-protocol"),
]
AFTER_SOME_TEXT = [
    ("drop", "provider-unavailable"),
    ("no-finish", "provider-incomplete"),
    ("stall", "provider-timeout"),
    ("garbage", "provider-protocol"),
    ("error-mid", "provider-protocol"),
]


@pytest.mark.parametrize(("model", "status", "name"), BEFORE_THE_FIRST_TOKEN)
def test_before_the_first_token_a_fault_is_a_status(
    impatient: Server, fake_provider: FakeProvider, model: str, status: int, name: str
) -> None:
    """On both doors; the turn is stored as failed, and nothing of the provider's words or our key shows."""
    thread = f"fault-{model}"
    for path, body in (
        ("/chat", {"message": "x", "thread_id": thread, "model": f"openai:{model}"}),
        ("/chat/stream", {"input": "x", "thread_id": thread, "model": f"openai:{model}"}),
    ):
        answer = impatient.call("POST", path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:chatcli:{name}"), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["saved"] is True
        assert KEY not in answer.text
        if name == "provider-rate-limited":
            assert int(answer.headers["retry-after"]) > 0
    assert [entry["state"] for entry in impatient.history(thread)] == ["failed", "failed"]
    assert fake_provider.second_host_connections() == 0


@pytest.mark.parametrize(("model", "name"), AFTER_SOME_TEXT)
def test_after_some_text_a_fault_is_the_last_line(impatient: Server, model: str, name: str) -> None:
    """The text stays, the turn is truncated, and the error says whether it is stored."""
    *_, token, last = impatient.lines(thread_id=f"cut-{model}", model=f"openai:{model}")
    assert token["type"] == "token"
    assert last["type"] == "error"
    assert last["error"]["type"] == f"urn:chatcli:{name}"
    assert last["error"]["request_id"]
    assert last["saved"] is True
    assert impatient.history(f"cut-{model}")[0]["state"] == "truncated"
    answer = impatient.chat("x", model=f"openai:{model}")
    assert answer.json()["response"] == "Hello from"
    assert answer.json()["state"] == "truncated"
    assert KEY not in answer.text


def test_an_answer_cut_at_its_length_is_truncated_and_no_error(server: Server) -> None:
    """The state says so on both doors."""
    assert server.chat("x", model="openai:length").json()["state"] == "truncated"
    last = server.lines(model="openai:length")[-1]["metadata"]
    assert (last["status"], last["state"], last["finish_reason"]) == ("truncated", "truncated", "length")


def test_an_unknown_model_is_the_clients_mistake(server: Server) -> None:
    """It is told before anything is stored."""
    answer = server.chat("x", thread_id="no-model", model="nobody:model")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:chatcli:invalid-request")
    assert server.call("GET", "/threads/no-model/history").status_code == 404
