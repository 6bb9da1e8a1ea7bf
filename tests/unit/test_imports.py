"""What other programs keep, read as threads: nothing said is lost, and nothing is made up."""

import hashlib
import io
import json
import sqlite3
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatcli.errors import InvalidText
from chatcli.models import Role, Thread, Turn, TurnState, Usage
from chatcli.service.transfer.formats import read_threads

NEW_LOG = """
CREATE TABLE messages (hash TEXT PRIMARY KEY, parent_hash TEXT, role TEXT, provider_metadata TEXT);
CREATE TABLE parts (id INTEGER PRIMARY KEY, message_hash TEXT, position INTEGER, type TEXT,
                    tool_name TEXT, text TEXT, payload TEXT);
CREATE TABLE threads (id TEXT PRIMARY KEY, name TEXT, tip_message_hash TEXT, forked_from TEXT,
                      datetime_utc TEXT);
CREATE TABLE turns (id TEXT PRIMARY KEY, thread_id TEXT, parent_message_hash TEXT, tip_message_hash TEXT,
                    model TEXT, resolved_model TEXT, options_json TEXT, schema_id TEXT,
                    input_tokens INTEGER, output_tokens INTEGER, token_details TEXT, duration_ms INTEGER,
                    datetime_utc TEXT, response_json TEXT);
CREATE TABLE attachments (id TEXT PRIMARY KEY, type TEXT, path TEXT, url TEXT, content BLOB);
CREATE TABLE fragments (id INTEGER PRIMARY KEY, hash TEXT, content TEXT, datetime_utc TEXT, source TEXT);
"""
OLD_LOG = """
CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
CREATE TABLE responses (id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, prompt_json TEXT,
                        options_json TEXT, response TEXT, response_json TEXT, conversation_id TEXT,
                        duration_ms INTEGER, datetime_utc TEXT, input_tokens INTEGER,
                        output_tokens INTEGER);
"""


def read(path: Path, *, branches: bool = False) -> dict[str, tuple[Thread, tuple[Turn, ...]]]:
    """Return the threads of a file by id, in the order in which they come."""
    with path.open("rb") as file:
        found = read_threads(file, path, branches=branches)
        return {thread.id: (thread, turns) for thread, turns in found}


def said(turns: tuple[Turn, ...]) -> list[list[tuple[str, object]]]:
    """Return who said what, turn by turn."""
    return [[(message.role.value, message.content) for message in turn.messages] for turn in turns]


class Log:
    """A log of llm that is being written."""

    def __init__(self, path: Path, tables: str) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(tables)

    def run(self, statement: str, *values: object) -> None:
        """Run one statement."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(statement, values)

    def say(self, parent: str | None, name: str, role: str, *parts: dict[str, Any]) -> str:
        """Add a message to the tree."""
        self.run("INSERT INTO messages VALUES (?, ?, ?, NULL)", name, parent, role)
        for position, part in enumerate(parts):
            rest = {key: value for key, value in part.items() if key not in {"type", "text"}}
            payload = json.dumps(rest) if rest else None
            self.run(
                "INSERT INTO parts (message_hash, position, type, text, payload) VALUES (?, ?, ?, ?, ?)",
                *(name, position, part["type"], part.get("text"), payload),
            )
        return name

    def turn(self, name: str, thread: str, tip: str, **fields: object) -> None:
        """Add a turn that ended with the message `tip`."""
        self.run(
            "INSERT INTO turns (id, thread_id, tip_message_hash, model, input_tokens, output_tokens,"
            " duration_ms, datetime_utc) VALUES (?, ?, ?, 'gpt-4o', ?, ?, 1500, ?)",
            *(name, thread, tip, fields.get("used"), fields.get("used")),
            fields.get("at", "2026-01-02T03:04:05.678901+00:00"),
        )


def text(value: str) -> dict[str, Any]:
    """Return a part that is text."""
    return {"type": "text", "text": value}


def test_a_log_of_llm(tmp_path: Path) -> None:
    """Prompts, answers, system prompts, fragments, images, tools, times, usage and forks are read."""
    log = Log(tmp_path / "logs.db", NEW_LOG)
    log.run("INSERT INTO fragments (id, content) VALUES (1, 'borrowed ')")
    log.run("INSERT INTO attachments VALUES ('a1', 'image/png', NULL, NULL, ?)", b"\x89PNG")
    log.run("INSERT INTO attachments VALUES ('a2', 'audio/mpeg', '/tmp/song.mp3', NULL, NULL)")
    log.run("INSERT INTO threads VALUES ('one', 'First one', 'm4', NULL, NULL)")
    log.run("INSERT INTO threads VALUES ('two', NULL, 'm9', 'one', NULL)")
    log.say(None, "m0", "system", text("be brief"))
    log.say("m0", "m1", "user", {"type": "text", "text_ref": [{"fragment": 1}, {"literal": "words"}]})
    log.say("m1", "m2", "assistant", {"type": "reasoning", "text": "hm"}, text("yes"))
    attachments = [{"type": "attachment", "attachment": {"id": name}} for name in ("a1", "a2")]
    log.say("m2", "m3", "user", text("look"), *attachments)
    log.say("m3", "m4", "assistant", {"type": "tool_call", "name": "see", "arguments": {"x": 1}})
    log.say("m4", "m5", "tool", {"type": "tool_result", "name": "see", "output": "a cat"})
    log.say("m5", "m6", "assistant", text("a cat it is"))
    log.turn("t1", "one", "m2", used=7)
    log.turn("t2", "one", "m6", at="2026-01-03 03:04:05")
    log.say("m2", "m8", "user", text("elsewhere"))
    log.say("m8", "m9", "assistant", text("there"))
    log.turn("t3", "two", "m9")
    threads = read(log.path)
    assert list(threads) == ["one", "two"]
    thread, turns = threads["one"]
    assert (thread.title, thread.system, thread.turn_count, thread.model) == (
        *("First one", "be brief"),
        *(2, "gpt-4o"),
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    assert said(turns) == [
        [("system", "be brief"), ("human", "borrowed words"), ("ai", "yes")],
        [
            ("human", ({"type": "text", "text": "look"}, image, text("\n\n[audio/mpeg /tmp/song.mp3]"))),
            ("ai", '[called see: {"x": 1}]'),
            ("tool", "a cat"),
            ("ai", "a cat it is"),
        ],
    ]
    assert (turns[0].id, turns[0].usage, turns[1].usage) == ("t1", Usage(7, 7), None)
    assert turns[0].started_at == datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert turns[1].finished_at == datetime(2026, 1, 3, 3, 4, 6, 500000, UTC)
    _, turns = threads["two"]
    assert [turn.id for turn in turns] == ["t1", "t3"]
    assert said(turns)[1] == [("human", "elsewhere"), ("ai", "there")]


def test_an_old_log_of_llm(tmp_path: Path) -> None:
    """Conversations from before the tree are read, too; one that went on in the tree comes once."""
    log = Log(tmp_path / "logs.db", OLD_LOG)
    log.run("INSERT INTO conversations VALUES ('c1', 'Old one', 'm')")
    row = (
        "INSERT INTO responses VALUES (?, 'm', ?, ?, NULL, NULL, ?, NULL, ?, 10, '2024-01-01T00:00:00', 1, 2)"
    )
    log.run(row, "r1", "hello", "be kind", "hi", "c1")
    log.run(row, "r2", "more", "be kind", "", "c1")
    log.run(row, "r3", "alone", None, "yes", None)
    threads = read(log.path)
    assert list(threads) == ["c1", "r3"]
    thread, turns = threads["c1"]
    assert (thread.title, thread.system) == ("Old one", "be kind")
    assert said(turns) == [[("system", "be kind"), ("human", "hello"), ("ai", "hi")], [("human", "more")]]
    assert [turn.state for turn in turns] == [TurnState.COMPLETE, TurnState.INTERRUPTED]
    assert threads["r3"][0].title == "alone"

    with closing(sqlite3.connect(log.path)) as connection:
        connection.executescript(NEW_LOG)
    log.run("INSERT INTO threads VALUES ('c1', 'Old one', 'm4', NULL, NULL)")
    log.say(None, "m1", "user", text("hello"))
    log.say("m1", "m2", "assistant", text("hi"))
    log.say("m2", "m3", "user", text("and now"))
    log.say("m3", "m4", "assistant", text("now, too"))
    log.turn("t1", "c1", "m4", used=3)
    threads = read(log.path)
    assert list(threads) == ["r3", "c1"]
    _, turns = threads["c1"]
    assert said(turns) == [[("human", "hello"), ("ai", "hi")], [("human", "and now"), ("ai", "now, too")]]
    assert [turn.usage for turn in turns] == [None, Usage(3, 3)]


def test_images_of_files_that_are_unchanged(tmp_path: Path) -> None:
    """The log keeps the path of an image; it is read if the file is still the one that was sent."""
    image = tmp_path / "x.png"
    image.write_bytes(b"\x89PNG")
    log = Log(tmp_path / "logs.db", NEW_LOG)
    digest = hashlib.sha256(b"\x89PNG").hexdigest()
    log.run("INSERT INTO attachments VALUES (?, 'image/png', ?, NULL, NULL)", digest, str(image))
    log.run("INSERT INTO threads VALUES ('one', 'x', 'm1', NULL, NULL)")
    log.say(None, "m1", "user", text("look"), {"type": "attachment", "attachment": {"id": digest}})
    log.turn("t1", "one", "m1")
    _, (turn,) = read(log.path)["one"]
    assert turn.messages[0].content == (
        text("look"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    )
    image.write_bytes(b"other")
    _, (turn,) = read(log.path)["one"]
    assert turn.messages[0].content == f"look\n\n[image/png {image}]"


def node(
    name: str, parent: str | None, role: str, *parts: object, **fields: Any
) -> tuple[str, dict[str, Any]]:
    """Return a node of ChatGPT's tree."""
    content = fields.pop("content", {"content_type": "text", "parts": list(parts)})
    message = {"id": name, "author": {"role": role}, "content": content, "metadata": {}, **fields}
    return name, {"id": name, "parent": parent, "children": [], "message": message}


def sample() -> list[dict[str, Any]]:
    """Return two conversations as ChatGPT exports them."""
    nodes = dict(
        [
            ("root", {"id": "root", "parent": None, "children": ["s"], "message": None}),
            node("s", "root", "system", "", metadata={"is_visually_hidden_from_conversation": True}),
            node("u1", "s", "user", "first question", create_time=1700000000.5),
            node("a1", "u1", "assistant", "old answer", create_time=1700000001.0),
            node("a2", "u1", "assistant", "new answer", metadata={"model_slug": "gpt-4o"}),
            node("u2", "a2", "user", {"content_type": "image_asset_pointer"}, "what is this?"),
            node("c", "u2", "assistant", content={"content_type": "code", "language": "python", "text": "1"}),
            node("t", "c", "tool", content={"content_type": "execution_output", "text": "ok"}),
            node("a3", "t", "assistant", "a cat", metadata={"finish_details": {"type": "max_tokens"}}),
            node("u3", "a3", "user", "lone \ud800 half and \0 nul"),
        ]
    )
    later = {
        "id": "later",
        "title": "Later\nthan",
        "create_time": 1700000000.0,
        "update_time": 1800000000.0,
        "mapping": nodes,
        "current_node": "u3",
    }
    earlier = {**later, "id": "earlier", "update_time": 1700000009, "current_node": "a1", "is_archived": True}
    return [later, earlier]


@pytest.mark.parametrize("packed", [False, True])
def test_conversations_of_chatgpt(tmp_path: Path, *, packed: bool) -> None:
    """The branch that was shown is read; what can't be stored is marked, and pictures are mentioned."""
    path = tmp_path / "export"
    data = json.dumps(sample())
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("conversations.json", data)
    else:
        path.write_text(data)
    threads = read(path)
    assert list(threads) == ["earlier", "later"]
    thread, turns = threads["later"]
    assert thread.title == "Later"
    assert thread.updated_at == datetime.fromtimestamp(1800000000, UTC)
    assert said(turns) == [
        [("human", "first question"), ("ai", "new answer")],
        [
            ("human", "[image]\n\nwhat is this?"),
            ("ai", "```python\n1\n```"),
            ("tool", "ok"),
            ("ai", "a cat"),
        ],
        [("human", "lone \ufffd half and \ufffd nul")],
    ]
    states = [TurnState.COMPLETE, TurnState.TRUNCATED, TurnState.INTERRUPTED]
    assert [turn.state for turn in turns] == states
    assert [turn.model for turn in turns] == ["openai:gpt-4o", "chatgpt", "chatgpt"]
    thread, turns = threads["earlier"]
    assert said(turns) == [[("human", "first question"), ("ai", "old answer")]]
    assert thread.archived_at is not None
    assert turns[0].messages[0].role is Role.HUMAN
    threads = read(path, branches=True)
    assert list(threads) == ["earlier.2", "earlier", "later.2", "later"]
    thread, turns = threads["later.2"]
    assert said(turns) == [[("human", "first question"), ("ai", "old answer")]]
    assert thread.title == "Later"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xfe\x00",
        b"[1]",
        b"[{}]",
        b'[{"id": "x"',
        b'[{"id": "x", "mapping": {"a": {"message": {"author": {"role": "alien"}}}}}]',
        b"{}",
        b'{"chatcli_export":1}\n',
        b"SQLite format 3\0",
        b"SQLite format 3\0" + b"\1" * 5000,
        b"PK\3\4nothing",
    ],
)
def test_what_can_not_be_read_is_refused(tmp_path: Path, data: bytes) -> None:
    """Files of no known program, and damaged ones of a known program, are one clear error."""
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InvalidText):
        read(path)


def test_other_databases_are_refused(tmp_path: Path) -> None:
    """A database that is no log of llm is named as such."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (x)")
    with pytest.raises(InvalidText, match="no log of llm"):
        read(path)
    with pytest.raises(InvalidText, match="standard input"), path.open("rb") as file:
        next(read_threads(file, None))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("other.json", "[]")
    with pytest.raises(InvalidText, match=r"no conversations\.json"):
        next(read_threads(archive, None))
