"""Every command, run beside its store and over a server: the same bytes, the same exit codes."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from chatcli.models import format_time, utc_now
from tests.acceptance.conftest import lines
from tests.cli.seed import insert
from tests.fake_provider import FakeProvider
from tests.program import Chatcli
from tests.server.peer import TOKENS, Server, serving
from tests.test_startup import HEAVY, imported

Run = CompletedProcess[bytes]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
OFFLINE = ("-m", "offline")
NEVER = {
    *("httpx", "langchain_core", "langchain_openai", "langgraph", "langsmith", "openai", "pydantic"),
    *("requests", "rich", "sqlite3.dbapi2"),
}
CHANGING = (
    (rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", b"ID"),
    (rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", b"TIME"),
    (rb"\b[0-9a-f]{64}\b", b"DIGEST"),
    (rb"\d+\.\d s\b", b"SECONDS"),
    (rb'"seconds":[0-9.e-]+', b"SECONDS"),
)
"""What is another in each run."""


def told(done: Run) -> tuple[int, bytes, bytes]:
    """Return what a run shows, but for what is never the same."""
    shown = []
    for text in (done.stdout, done.stderr):
        for pattern, word in CHANGING:
            text = re.sub(pattern, word, text)  # noqa: PLW2901
        shown.append(text)
    return done.returncode, shown[0], shown[1]


@pytest.fixture
def alone(tmp_path: Path, fake_provider: FakeProvider) -> Iterator[Server]:
    """A server that nobody else uses."""
    with serving(tmp_path / "server", provider=fake_provider) as server:
        yield server


@pytest.fixture
def both(chatcli: Chatcli, alone: Server) -> Callable[..., Run]:
    """Run steps beside a store and over a server, compare them, and return the last of the server's."""
    there = chatcli.with_environment(CHATCLI_SERVER=alone.url, CHATCLI_API_TOKEN=TOKENS["local"])

    def run(*words: str, given: bytes = b"") -> Run:
        near, far = chatcli(*words, input=given), there(*words, input=given)
        assert told(far) == told(near), words
        return far

    return run


def test_titles_and_forks(both: Callable[..., Run]) -> None:
    """`title` and `fork` with all that they take and refuse."""
    for prompt in ("one", "two"):
        both("chat", *OFFLINE, "-t", "tea", prompt)
    both("title", "tea", "Grüner", "Tee")
    both("title", "tea", "--json")
    both("title", "nothing", "x")
    assert both("fork", "tea").returncode == 0
    both("fork", "tea", "--at", "1", "--title", "Plan B", "--json")
    assert both("fork", "tea", "--at", "3").returncode == 2
    both("history", "-n", "0", "--json")


def test_second_thoughts(both: Callable[..., Run]) -> None:
    """`chat --retry` and `--undo`, with a prompt and without, and what can't be done."""
    for prompt in ("one", "two"):
        both("chat", *OFFLINE, "-t", "tea", prompt)
    assert both("chat", *OFFLINE, "-c", "--retry").returncode == 0
    both("chat", "-t", "tea", "--undo", "1", "--json")
    both("chat", *OFFLINE, "-t", "tea", "--undo", "1", "--json", "another")
    for refused in (["--undo", "9"], ["--retry", "-m", "nonsense"]):
        assert both("chat", "-t", "tea", *refused).returncode == 2
    assert both("chat", "-t", "nothing", "--retry", *OFFLINE).returncode == 66
    both("archive", "tea")
    assert both("chat", "-t", "tea", "--undo", "1").returncode == 75
    both("history", "-n", "0", "--all", "--json")


def test_the_same_is_refused(both: Callable[..., Run]) -> None:
    """Options that nothing can be done with are usage errors, and the odd ones that make sense are not."""
    both("chat", *OFFLINE, "-t", "tea", "one")
    for odd in (("-l", ""), ("--temperature", "nan"), ("--idempotency-key", "two words")):
        assert both("chat", "-m", "", "-t", "tea", *odd, "two").returncode == 2
    assert both("history", "--search", "x" * 1001).returncode == 2
    assert both("history", "--search", "").returncode == 0
    assert both("history", "tea", "--tail", str(10**30), "--json").returncode == 0


def test_keys(both: Callable[..., Run]) -> None:
    """A key counts on its thread, or on the one that it begins, as long as its turn is there."""
    key = ("--idempotency-key", "day")
    first = both("chat", *OFFLINE, "--json", *key, "one")
    again = both("chat", *OFFLINE, "--json", *key, "one")
    assert [lines(run)[0]["thread_id"] for run in (first, again)] == [lines(first)[0]["thread_id"]] * 2
    assert lines(again)[-1]["metadata"]["replayed"]
    assert both("chat", *OFFLINE, *key, "another").returncode == 2
    for thread in ("tea", "milk"):
        assert both("chat", *OFFLINE, "-t", thread, *key, thread).returncode == 0
    assert both("chat", *OFFLINE, "-t", "tea", *key, "--title", "Tea", "tea").returncode == 0
    both("clear", "tea", "-y")
    assert both("chat", *OFFLINE, "-t", "tea", *key, "something else").returncode == 0


def test_moving_threads(both: Callable[..., Run]) -> None:
    """`export` and `import`: of some, of all, again, dry, damaged, and in conflict."""
    for thread in ("tea", "milk"):
        both("chat", *OFFLINE, "-t", thread, "-s", f"On {thread}.", f"about {thread}")
    exported = both("export").stdout
    both("export", "milk", "-")
    assert both("export", "nothing").returncode == 66
    both("delete", "tea", "milk", "-y")
    both("import", "--dry-run", given=exported)
    assert both("import", "--json", given=exported).returncode == 0
    assert both("export").stdout == exported
    assert both("import", given=exported).returncode == 0
    assert both("import", given=exported[:-10]).returncode == 65
    both("chat", *OFFLINE, "-t", "tea", "more")
    assert both("import", given=exported).returncode == 2
    assert both("import", "--dry-run", "--json", given=exported).returncode == 2
    for name in (b"x..y", b"a\\u0000"):
        changed = exported.replace(b'"id":"milk"', b'"id":"' + name + b'"')
        assert both("import", given=_sealed(changed)).returncode == 2


def _sealed(export: bytes) -> bytes:
    """Return an export with the checksum that it has now."""
    from hashlib import sha256

    *head, last = export.splitlines(keepends=True)
    digest = sha256(b"".join(head)).hexdigest().encode()
    return b"".join(head) + re.sub(rb"[0-9a-f]{64}", digest, last)


def test_cleaning_up(both: Callable[..., Run], chatcli: Chatcli, alone: Server) -> None:
    """`cleanup`: what would go, what goes, what is kept, and what is refused."""
    now = utc_now()
    days = (400, 300, 200, 2, 1)
    for program in (chatcli, alone.program):
        insert(program, *[(f"old-{age}", now - timedelta(days=age)) for age in days])
    both("archive", "old-300")
    for words in (
        ["--dry-run", "--older-than", "30d"],
        ["--dry-run", "--older-than", "30d", "--json"],
        ["--older-than", "30d", "--archived"],
        ["--older-than", "30d", "--keep", "3", "--json"],
        ["--older-than", "30d", "--quiet"],
        [],
        ["--older-than", "2999-01-01"],
        ["--older-than", "soon"],
    ):
        both("cleanup", *words)
    assert len(both("history", "--all").stdout.splitlines()) == 2
    for program in (chatcli, alone.program):
        insert(program, ("from-tomorrow", now + timedelta(days=3)))
    assert both("cleanup", "--older-than", "36h").returncode == 2
    assert both("cleanup", "--older-than", "36h", "--force-clock").returncode == 0
    assert len(both("history").stdout.splitlines()) == 2


def test_a_busy_thread_survives_a_cleanup(
    remote: Chatcli, server: Server, fake_provider: FakeProvider
) -> None:
    """A thread that the server is answering on is told as busy, and stays."""
    bob = remote.with_environment(CHATCLI_API_TOKEN=TOKENS["bob"])
    with bob.start("chat", "-t", "working", "-m", "openai:slow-1", "one") as running:
        fake_provider.wait_for(lambda requests: len(requests) == 1)
        body = {"before": format_time(utc_now())}
        answer = server.call("POST", "/cleanup", owner="bob", json=body)
        fake_provider.release()
        assert running.finish() == 0
    step, receipt = (json.loads(line) for line in answer.text.splitlines())
    assert (step["busy"], step["removed"]) == (["working"], [])
    assert (receipt["busy"], receipt["removed"]) == (1, 0)
    assert bob("delete", "working", "-y").returncode == 0


def test_pictures(both: Callable[..., Run], chatcli: Chatcli) -> None:
    """A picture reaches the thread as it does without a server, and is asked again with a retry."""
    for name in ("a.png", "b.gif"):
        (chatcli.home / name).write_bytes(PNG if name == "a.png" else b"GIF89a" + bytes(8))
    both("chat", *OFFLINE, "-t", "look", "-f", "a.png", "-f", "b.gif", "what is this?")
    both("chat", *OFFLINE, "-t", "look", "--retry")
    both("chat", *OFFLINE, "-t", "look", "-f", "a.png")
    shown = both("history", "look", "--json")
    content = json.loads(shown.stdout)["turns"][0]["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "image_url"]
    both("export", "look")


def test_a_large_picture(remote: Chatcli, fake_provider: FakeProvider, tmp_path: Path) -> None:
    """One of 20 MiB goes to a server that takes it; one byte more is refused by the command itself."""
    words = ("chat", "-t", "large", "-f", "large.png", "what is this?", *OFFLINE)
    path = remote.home / "large.png"
    path.write_bytes(PNG.ljust(20 * 1024 * 1024, b"\1"))
    refused = remote(*words)
    assert refused.returncode == 65, refused.stderr
    assert b"--max-body" in refused.stderr
    with serving(tmp_path / "generous", "--max-body", "64", provider=fake_provider) as server:
        there = remote.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["local"])
        done = there(*words)
        assert done.returncode == 0, done.stderr
        path.write_bytes(PNG.ljust(20 * 1024 * 1024 + 1, b"\1"))
        assert there(*words).returncode == 65
        assert server.call("GET", "/threads/large", owner="local").json()["turn_count"] == 1


def test_the_picture_reaches_the_model(remote: Chatcli, online: Chatcli, fake_provider: FakeProvider) -> None:
    """The provider gets the same request with a server between as without one."""
    for program in (online, remote):
        (program.home / "a.png").write_bytes(PNG)
        assert program("chat", "-m", "openai:fake", "-f", "a.png", "what is this?").returncode == 0
    near, far = (request["body"]["messages"] for request in fake_provider.requests())
    assert near == far
    assert "image_url" in json.dumps(far)


def test_many_threads_at_once(remote: Chatcli, server: Server) -> None:
    """More threads than a page or a batch holds are exported and imported whole, in their order."""
    then = utc_now() - timedelta(days=9)
    names = [f"n{number:04}" for number in range(450)]
    insert(server.program, *[(name, then) for name in names], owner="bob")
    bob, alice = ({"CHATCLI_API_TOKEN": TOKENS[name]} for name in ("bob", "alice"))
    exported = remote("export", env=bob)
    assert exported.returncode == 0
    assert [line["id"] for line in lines(exported)[1:-1]] == names
    done = remote("import", "--json", env=alice, input=exported.stdout)
    assert [line["action"] for line in lines(done)] == ["import"] * len(names)
    again = remote("export", env=alice)
    assert [line["turns"] for line in lines(again)[1:-1]] == [line["turns"] for line in lines(exported)[1:-1]]
    assert {line["owner"] for line in lines(again)[1:-1]} == {"alice"}
    deleted = remote("delete", "-", "-y", "-q", env=alice, input="\n".join(names[:10]).encode())
    assert deleted.returncode == 0
    cleaned = remote("cleanup", "--older-than", "1d", "--json", env=alice)
    assert json.loads(cleaned.stdout)["removed"] == len(names) - 10
    assert remote("history", env=alice).stdout == b""
    assert remote("history", env=bob).stdout.count(b"\n") == 20


def test_a_server_that_has_enough_is_waited_for(tmp_path: Path, chatcli: Chatcli) -> None:
    """Where the limit on requests is over in moments, a command of many requests comes to its end."""
    words = ("--insecure-no-auth", "--store", "memory://")
    with serving(tmp_path / "few", *words, CHATCLI_CLIENT_RATE="5/second", CHATCLI_MODEL="offline") as server:
        remote = chatcli.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["local"])
        for thread in ("a1", "b2", "c3", "d4", "e5"):
            assert remote("chat", "-t", thread, "hello").returncode == 0
        done = remote("archive", "a1", "b2", "c3", "d4", "e5")
        assert (done.returncode, done.stdout.count(b"\n"), done.stderr) == (0, 5, b"")


def test_the_audit_names_who_did_it(tmp_path: Path, chatcli: Chatcli) -> None:
    """What a cleanup over a server removes stands in the audit with the name of the token."""
    with serving(tmp_path / "audited", CHATCLI_MODEL="offline") as server:
        remote = chatcli.with_environment(CHATCLI_SERVER=server.url, CHATCLI_API_TOKEN=TOKENS["bob"])
        insert(server.program, ("old", utc_now() - timedelta(days=9)), owner="bob")
        assert remote("cleanup", "--older-than", "1d").returncode == 0
        server.stop()
        entries = lines(server.program("info", "--audit", "--json"))
    assert [(it["action"], it["actor"], it["owner"], it["count"]) for it in entries] == [
        ("cleanup", "bob", "bob", 1)
    ]


# What the server says of itself ------------------------------------------------------------------


def test_the_server_is_checked(remote: Chatcli, server: Server) -> None:
    """`info --check` tells the version, the store and the models of the server."""
    done = remote("info", "--check", "--json", "-m", "offline")
    facts = json.loads(done.stdout)
    assert done.returncode == 0
    assert facts["store"] == server.url
    assert facts["check"]["server"]["ok"] is True
    assert facts["check"]["server"]["version"] == facts["version"]
    assert facts["check"]["store"]["ok"] is True
    assert facts["check"]["model"] == {"ok": True, "name": "offline", "models": ["offline"]}
    shown = remote("info", "--check").stdout.decode()
    assert f"server  {server.url}" in shown
    assert "check   server: works; chatcli " in shown
    assert "check   model: openai:fake works; " in shown


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"CHATCLI_API_TOKEN": "wrong"}, 77, b"none of the server's tokens"),
        ({"CHATCLI_SERVER": "http://127.0.0.1:9"}, 69, b"can't be reached"),
    ],
)
def test_what_is_wrong_with_the_server_is_told(
    remote: Chatcli, variables: dict[str, str], code: int, said: bytes
) -> None:
    """The check ends with the code of the trouble, and says what to do."""
    done = remote("info", "--check", env=variables)
    assert done.returncode == code
    assert said in done.stdout
    assert b"check   store" not in done.stdout


def test_a_server_whose_model_fails_is_told(remote: Chatcli) -> None:
    """A model that nobody has is the check's error; the rest of it works."""
    done = remote("info", "--check", "--json", "-m", "nobody:x")
    check = json.loads(done.stdout)["check"]
    assert done.returncode == 2
    assert (check["server"]["ok"], check["store"]["ok"], check["model"]["ok"]) == (True, True, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rekey",), b"a store is encrypted where it is"),
        (("rekey", "--server", "http://x"), b"--server"),
        (("copy", "--server", "http://x"), b"--server"),
        (("serve", "--server", "http://x"), b"--server"),
        (("info", "--audit"), b"run it where the store is"),
    ],
)
def test_what_is_about_a_store_is_refused(remote: Chatcli, words: tuple[str, ...], said: bytes) -> None:
    """Encrypting, copying and serving a store, and its audit, are usage errors over a server: 2."""
    refused = remote(*words)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert said in refused.stderr
    assert not remote.database.exists()


def test_tab_knows_the_threads_of_the_server(remote: Chatcli) -> None:
    """Ids are completed with their titles; a server that is not there costs nothing but the names."""
    assert remote("chat", "-t", "completed", "a telling title").returncode == 0
    asked = {"_CHATCLI_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    words = {**asked, "_TYPER_COMPLETE_ARGS": "chatcli title comp"}
    assert remote(env=words).stdout == b"completed\ta telling title\n"
    gone = remote(env={**words, "CHATCLI_SERVER": "http://127.0.0.1:9"})
    assert (gone.returncode, gone.stdout, gone.stderr) == (0, b"\n", b"")


# Cost -------------------------------------------------------------------------------------------


def test_the_client_is_thin(remote: Chatcli) -> None:
    """Nothing of a model, a graph or a store is imported, and no HTTP library."""
    assert NEVER <= HEAVY
    for words in (
        ("chat", "-t", "thin", "hello"),
        ("chat", "-t", "thin", "--json", "--retry"),
        ("history", "thin", "--format", "html"),
        ("history", "--search", "hello"),
        ("title", "thin", "New"),
        ("fork", "thin"),
        ("chat", "-t", "thin", "--undo", "1"),
        ("export", "-o", "threads.jsonl"),
        ("import", "threads.jsonl"),
        ("cleanup", "--older-than", "10y"),
        ("info", "--check", "-m", "offline"),
        ("delete", "thin", "--yes"),
    ):
        assert not imported(remote, *words) & NEVER, words


def test_two_imports_at_once(remote: Chatcli) -> None:
    """Two imports of the same threads at the same time write each thread once."""
    names = ("p1", "p2", "p3")
    for name in names:
        assert remote("chat", "-t", name, *OFFLINE, "hello").returncode == 0
    path = remote.home / "threads.jsonl"
    path.write_bytes(remote("export", *names).stdout)
    assert remote("delete", *names, "-y").returncode == 0
    with (
        remote.start("import", "--json", str(path)) as one,
        remote.start("import", "--json", str(path)) as two,
    ):
        assert (one.finish(), two.finish()) == (0, 0)
    done = [json.loads(line)["action"] for run in (one, two) for line in run.seen.splitlines()]
    assert sorted(done) == ["import"] * 3 + ["keep"] * 3
