"""The log of the program ``llm``, ``logs.db``: as 0.36 writes it (threads, turns), and as it was before."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from chatcli.errors import InvalidText
from chatcli.models import Part, Role, Usage, parse_time
from chatcli.service.transfer.foreign import Exchange, clean, content_of, make_thread, text_part
from chatcli.service.transfer.reading import STRANGE, Unfit, Whole

_ROLES = {"user": Role.HUMAN, "assistant": Role.AI, "system": Role.SYSTEM, "tool": Role.TOOL}
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_MOST_BYTES = 20 * 1024 * 1024
_THREADS = """
    SELECT threads.id, threads.name FROM threads JOIN turns ON turns.thread_id = threads.id
    GROUP BY threads.id ORDER BY max(turns.id)
"""
_CONVERSATIONS = """
    SELECT coalesce(conversation_id, responses.id) AS id, conversations.name AS name
    FROM responses LEFT JOIN conversations ON conversations.id = conversation_id
    GROUP BY 1 ORDER BY max(responses.id)
"""


def read_llm(path: Path) -> Iterator[Callable[[], Whole]]:
    """Yield what reads the conversations, least recently used first; the file is only read."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            yield from _Log(connection).threads()
    except sqlite3.Error as error:
        raise InvalidText(f"{path} can't be read as a log of llm: {error}") from None


@dataclass(frozen=True, slots=True)
class _Said:
    """One message of the tree, and the one before it."""

    hash: str
    parent: str | None
    role: Role


class _Log:
    """One open log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        self._tables = {row["name"] for row in rows}

    def threads(self) -> Iterator[Callable[[], Whole]]:
        """Yield what reads the old log's conversations that did not go on in the new one, then its own."""
        old, new = {"responses", "conversations"}, {"threads", "turns", "messages", "parts"}
        if not old <= self._tables and not new <= self._tables:
            raise InvalidText("the database is no log of llm", hint="`llm logs path` says where yours is")
        ids = {row["id"] for row in self._select(_THREADS)} if new <= self._tables else set()
        if old <= self._tables:
            for row in self._select(_CONVERSATIONS):
                if row["id"] not in ids:
                    yield partial(self._read, row, self._responses)
        if new <= self._tables:
            for row in self._select(_THREADS):
                yield partial(self._read, row, self._turns)

    def _read(self, row: sqlite3.Row, exchanges: Callable[[str], Sequence[Exchange]]) -> Whole:
        try:
            return make_thread(str(row["id"]), row["name"], exchanges(row["id"]))
        except (*STRANGE, sqlite3.Error):
            raise Unfit(str(row["id"]), f"conversation {row['id']} makes no sense in a log of llm") from None

    def _select(self, statement: str, *values: object) -> Sequence[sqlite3.Row]:
        return self._connection.execute(statement, values).fetchall()

    # Messages are a tree, and a turn names the message that it ended with --------------

    def _turns(self, thread_id: str) -> Sequence[Exchange]:
        exchanges: list[Exchange] = []
        seen: set[str] = set()
        for row in self._select("SELECT * FROM turns WHERE thread_id = ? ORDER BY id", thread_id):
            branch: list[_Said] = []
            place = row["tip_message_hash"]
            while place is not None and place not in seen:
                seen.add(place)
                found = self._select("SELECT parent_hash, role FROM messages WHERE hash = ?", place)[0]
                branch.append(_Said(place, found["parent_hash"], _ROLES[found["role"]]))
                place = found["parent_hash"]
            exchanges += self._split(branch[::-1], row)
        return exchanges

    def _split(self, branch: Sequence[_Said], row: sqlite3.Row) -> Iterator[Exchange]:
        """Yield what a turn added; a fork's first turn adds the earlier ones of its origin, too."""
        groups: list[list[_Said]] = []
        for said in branch:
            prompts = not groups or (groups[-1][-1].role is Role.AI and said.role is not Role.TOOL)
            if prompts:
                groups.append([])
            groups[-1].append(said)
        for number, group in enumerate(groups, 1):
            own = number == len(groups)
            origin = None if own else self._turn_ending_with(group[-1].hash)
            # Without a turn of its own an earlier exchange has its time and model from the later one.
            exchange = _exchange(origin or row, suffix="" if own or origin else f".{number}")
            if not own and origin is None:
                exchange.usage = None
            for said in group:
                moment = exchange.moment if said.role is not Role.AI else exchange.finished_at
                parts = list(self._parts(said.hash))
                if parts:
                    exchange.said.append((said.role, content_of(parts), moment or exchange.moment))
            yield exchange

    def _turn_ending_with(self, tip: str) -> sqlite3.Row | None:
        found = self._select("SELECT * FROM turns WHERE tip_message_hash = ? ORDER BY id LIMIT 1", tip)
        return found[0] if found else None

    def _parts(self, message: str) -> Iterator[Part]:
        rows = self._select("SELECT * FROM parts WHERE message_hash = ? ORDER BY position", message)
        for row in rows:
            payload = json.loads(row["payload"]) if row["payload"] else {}
            if row["type"] == "text":
                yield text_part(row["text"] if row["text"] is not None else self._joined(payload))
            elif row["type"] == "tool_call":
                yield text_part(f"[called {payload['name']}: {json.dumps(payload.get('arguments'))}]")
            elif row["type"] == "tool_result":
                yield text_part(str(payload.get("output") or payload.get("exception") or ""))
            elif row["type"] == "attachment":
                yield self._attachment(payload["attachment"]["id"])

    def _joined(self, payload: Mapping[str, list[dict[str, str]]]) -> str:
        """Return a text of which pieces are kept apart, as fragments."""
        return "".join(
            piece["literal"] if "literal" in piece else self._fragment(piece["fragment"])
            for piece in payload["text_ref"]
        )

    def _fragment(self, number: str) -> str:
        found = self._select("SELECT content FROM fragments WHERE id = ?", number)
        return str(found[0]["content"]) if found else ""

    def _attachment(self, attachment_id: str) -> Part:
        """Return an image that the log keeps, or whose file is still the one that was sent.

        Anything else is mentioned with its place.
        """
        (row,) = self._select("SELECT * FROM attachments WHERE id = ?", attachment_id)
        if row["type"] in _IMAGES:
            image = row["content"]
            if image is None and row["path"]:
                image = _read_unchanged(Path(row["path"]), attachment_id)
            if image is not None:
                import base64

                data = base64.b64encode(image).decode("ascii")
                return {"type": "image_url", "image_url": {"url": f"data:{row['type']};base64,{data}"}}
        return text_part(f"\n\n[{row['type']} {row['path'] or row['url'] or 'attachment'}]")

    # Earlier: one row a prompt with its answer ------------------------------------------------------

    def _responses(self, conversation_id: str) -> Sequence[Exchange]:
        rows = self._select(
            "SELECT * FROM responses WHERE coalesce(conversation_id, id) = ? ORDER BY id", conversation_id
        )
        system = None
        exchanges = []
        for row in rows:
            exchange = _exchange(row, suffix="")
            if row["system"] and row["system"] != system:
                system = row["system"]
                exchange.said.append((Role.SYSTEM, clean(system), exchange.moment))
            prompt = [*self._fragments_of(row["id"]), text_part(row["prompt"] or "")]
            prompt += self._attachments_of(row["id"])
            exchange.said.append((Role.HUMAN, content_of(prompt), exchange.moment))
            if row["response"]:
                finished_at = exchange.finished_at or exchange.moment
                exchange.said.append((Role.AI, clean(row["response"]), finished_at))
            exchanges.append(exchange)
        return exchanges

    def _fragments_of(self, response_id: str) -> Iterator[Part]:
        if "prompt_fragments" in self._tables:
            for row in self._select(
                "SELECT content FROM prompt_fragments JOIN fragments ON fragments.id = fragment_id"
                ' WHERE response_id = ? ORDER BY "order"',
                response_id,
            ):
                yield text_part(f"{row['content']}\n")

    def _attachments_of(self, response_id: str) -> Iterator[Part]:
        if "prompt_attachments" in self._tables:
            for row in self._select(
                'SELECT attachment_id FROM prompt_attachments WHERE response_id = ? ORDER BY "order"',
                response_id,
            ):
                yield self._attachment(row["attachment_id"])


def _read_unchanged(path: Path, digest: str) -> bytes | None:
    """Return what is in a file if it is what `digest` was made of."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def _exchange(row: sqlite3.Row, *, suffix: str) -> Exchange:
    keys = row.keys()
    moment = _moment(row["datetime_utc"])
    used = "input_tokens" in keys and row["input_tokens"] is not None and row["output_tokens"] is not None
    return Exchange(
        id=f"{row['id']}{suffix}",
        moment=moment,
        model=str(row["model"]),
        finished_at=moment + timedelta(milliseconds=row["duration_ms"] or 0),
        usage=Usage(int(row["input_tokens"]), int(row["output_tokens"])) if used else None,
    )


def _moment(text: str) -> datetime:
    moment = parse_time(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
