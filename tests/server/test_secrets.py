"""Keys and tokens: in nothing that a client is told, and in no file that the server writes."""

from pathlib import Path

from tests.fake_provider import FakeProvider
from tests.server.peer import KEY, TOKENS, Server, serving

TELLTALES = ("err-401", "err-key-400", "error-first", "error-mid", "garbage", "odd-choices")
"""Models of a provider that puts our key into what it says."""
PLACES = ("/info", "/metrics", "/openapi.json", "/docs", "/threads", "/readyz", "/chat", "/no-such-page")


def test_no_secret_is_told_or_stored(tmp_path: Path, fake_provider: FakeProvider) -> None:
    """Whatever the provider says: not in heads and bodies, the store, the log or any other file.

    The log is at its most talkative, and the wrong token of a stranger is a secret, too.
    """
    with serving(tmp_path, provider=fake_provider, LOG_LEVEL="DEBUG") as server:
        told = "".join(everything_told(server))
        assert server.stop() == 0
        written = b"".join(path.read_bytes() for path in server.program.home.rglob("*") if is_ours(path))
    assert "provider-auth" in told
    assert b"listening" in written
    for secret in (KEY, "canary-wrong-token", *TOKENS.values()):
        assert secret not in told
        assert secret.encode() not in written


def everything_told(server: Server) -> list[str]:
    answers = []
    for number, model in enumerate(TELLTALES):
        fields = {"thread_id": f"t-{number}", "model": f"openai:{model}"}
        answers += [
            server.call("POST", "/chat", json={"message": "x", **fields}),
            server.call("POST", "/chat/stream", json={"input": "x", **fields}),
            server.call("GET", f"/threads/t-{number}/history"),
            server.call("GET", f"/chat/history/t-{number}"),
        ]
    answers += [server.call("GET", place) for place in PLACES]
    answers.append(server.call("GET", "/info", owner=None, headers={"X-API-Key": "canary-wrong-token"}))
    return [f"{answer.headers.raw!r}{answer.text}" for answer in answers]


def is_ours(path: Path) -> bool:
    """Whether the server has written a file; the one with the tokens is the user's own."""
    return path.is_file() and path.name != "tokens"
