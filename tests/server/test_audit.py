"""What clients do over HTTP stands in the audit with the name of their token and their address."""

import json
from pathlib import Path

from tests.fake_provider import FakeProvider
from tests.server.peer import serving


def test_clients_are_told_apart(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """A deletion bears the token's name; a wrong token is recorded, one that is missing is not."""
    with serving(tmp_path, provider=fake_provider) as server:
        answer = server.call("POST", "/chat", owner="alice", json={"message": "hello", "thread_id": "tea"})
        assert answer.status_code == 200, answer.text
        assert server.call("DELETE", "/threads/tea", owner="alice").status_code == 204
        assert server.call("GET", "/threads", owner=None).status_code == 401
        wrong = {"Authorization": "Bearer wrong"}
        assert server.call("GET", "/threads", owner=None, headers=wrong).status_code == 401
        server.stop()
        done = server.program("info", "--audit", "--json")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    found = [
        (one["action"], one["actor"], one["owner"], one["door"], one["origin"], one["count"])
        for one in reversed(entries)
    ]
    assert found == [
        ("delete", "alice", "alice", "serve", "127.0.0.1", None),
        ("token-refused", "unknown", "local", "serve", "127.0.0.1", 1),
    ]
    assert "hello" not in json.dumps(entries)
