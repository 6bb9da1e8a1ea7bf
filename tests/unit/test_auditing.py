"""What `ChatService` writes into the audit, and how much of what is refused a server does."""

import getpass
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from chatcli.config import load_settings
from chatcli.errors import ChatcliError, ThreadNotFound
from chatcli.models import Thread, utc_now
from chatcli.server.watch import MOST, PERIOD, Watch
from chatcli.service import ChatService
from chatcli.service.auditing import Actor, this_user
from chatcli.stores.base import Expiry
from chatcli.stores.memory import MemoryStore
from chatcli.stores.sqlite import SqliteStore


@pytest.fixture
async def service() -> AsyncIterator[ChatService]:
    """The service, over a store in memory."""
    service = ChatService(MemoryStore(), load_settings({}))
    yield service
    await service.aclose()


async def put(service: ChatService, *names: str, days: float = 0) -> None:
    """Store threads without turns, last used so many days ago."""
    moment = utc_now() - timedelta(days=days)
    for name in names:
        await service.import_thread(Thread(name, "", "A secret plan", "English", 0, moment, moment), ())


async def told(service: ChatService) -> list[tuple[str, str | None, int | None]]:
    """Return what was done, oldest first."""
    found = await service.audit(limit=99)
    return [(entry.action, entry.thread_id, entry.count) for entry in reversed(found)]


async def test_every_change_for_good_is_recorded(service: ChatService) -> None:
    """Clear, delete, archive, restore and each step of a cleanup; not what was refused, or only tried out."""
    await put(service, "tea")
    await put(service, "old", "older", days=100)
    await service.archive("tea")
    await service.archive("tea", archived=False)
    await service.clear("tea")
    await service.delete("tea")
    with pytest.raises(ThreadNotFound):
        await service.delete("tea")
    now = utc_now()
    for dry_run in (True, False, False):
        _ = [one async for one in service.cleanup(Expiry(now - timedelta(days=90)), now=now, dry_run=dry_run)]
    changes = [(action, "tea", None) for action in ("archive", "restore", "clear", "delete")]
    assert await told(service) == [*changes, ("cleanup", None, 2)]


async def test_who_acts_is_who_the_system_says(service: ChatService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user and the machine come from the system, whatever the variables say; a title stays out."""
    expected = getpass.getuser()
    for name in ("LOGNAME", "USER", "USERNAME", "LNAME"):
        monkeypatch.setenv(name, "mallory")
    await put(service, "tea")
    await service.delete("tea")
    (entry,) = await service.audit(limit=9)
    assert (entry.actor, entry.door, entry.origin) == (expected, "cli", os.uname().nodename)
    assert "secret" not in repr(entry)
    await put(service, "tea")
    await service.acting(Actor("bob", "serve", "192.0.2.7")).delete("tea")
    entry, _ = await service.audit(limit=9)
    assert (entry.actor, entry.door, entry.origin, entry.owner) == ("bob", "serve", "192.0.2.7", "local")
    assert service.actor == this_user()


async def test_attempts_can_not_fill_the_store(service: ChatService) -> None:
    """However many tokens are wrong, a minute has few entries, and their counts miss none."""
    now = 0.0
    watch = Watch(service, clock=lambda: now)
    for _ in range(1000):
        watch.token_refused("192.0.2.7")
    now += PERIOD
    watch.token_refused("192.0.2.8")
    watch.token_refused("192.0.2.9")
    for _ in range(MOST):
        watch.token_refused("192.0.2.10")
    await watch.aclose()
    found = await service.audit(limit=99)
    assert len(found) == 2 * MOST + 1
    assert {(entry.action, entry.outcome, entry.actor) for entry in found} == {
        ("token-refused", "refused", "unknown")
    }
    assert sum(entry.count or 0 for entry in found) == 1000 + 2 + MOST


async def test_a_deletion_and_its_entry_are_one_transaction(tmp_path: Path) -> None:
    """Where the entry can't be written, the thread stays; and no program can change what is written."""
    path = tmp_path / "chatcli.db"
    service = ChatService(SqliteStore(str(path)), load_settings({}))
    await put(service, "tea", "coffee")
    await service.delete("tea")
    with closing(sqlite3.connect(path)) as other:
        for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
                other.execute(statement)
        other.rollback()
        other.execute("ALTER TABLE audit RENAME TO elsewhere")
        other.commit()
    with pytest.raises(ChatcliError):
        await service.delete("coffee")
    assert (await service.thread("coffee")).id == "coffee"
    await service.aclose()
