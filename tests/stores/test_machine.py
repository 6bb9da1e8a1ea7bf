"""Any steps in any order: every store shows what the store in memory shows.

    uv run pytest tests/stores/test_machine.py --machines 500

Each step is taken on the store in memory and on the other one, and all that can be seen is compared.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chatcli.errors import ChatcliError
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Role, Thread, Turn, TurnState
from chatcli.stores.base import (
    LEASE_SECONDS,
    Begun,
    Expiry,
    Lease,
    NewTurn,
    Outcome,
    Sweep,
    ThreadStore,
    message_id,
)
from chatcli.stores.memory import MemoryStore
from tests.stores.conftest import Kind

DEFAULT_RUNS = 8
"""Up to so many runs are the same each time, and not shrunk when they fail."""

Call: TypeAlias = Callable[[ThreadStore], Awaitable[object]]

NAMES = st.sampled_from(["a", "b", "c", "d", "e", "B"])
FORKS = [f"fork-{number}" for number in range(6)]
SAID = st.sampled_from(["tea", "Tea and milk", "green\ntea, tea", "milk", "café", ""])
QUERIES = st.sampled_from(["tea", "te", "milk tea", "cafe", "green", "x"])
ENDS = st.sampled_from([TurnState.COMPLETE, TurnState.TRUNCATED, TurnState.INTERRUPTED, TurnState.FAILED])
YEARS = st.sampled_from([2009, 2019, 2039])
"""Of imported threads, and of expiry: long before any clock, or ahead of it."""
NUMBERS = st.integers(0, 4)
ANY_MARK = st.sampled_from([True, False, None])


def start_of(year: int) -> datetime:
    """Return a moment that no clock of a test gives."""
    return datetime(year, 1, 1, tzinfo=UTC)


def seen(value: object) -> object:
    """Return `value` without the times that two stores can't have in common."""
    match value:
        case Thread():
            mark = value.archived_at and start_of(1)
            return replace(value, created_at=start_of(1), updated_at=start_of(1), archived_at=mark)
        case Turn():
            return replace(value, started_at=start_of(1), finished_at=value.finished_at and start_of(1))
        case Begun():
            context = value.context
            return (seen(value.thread), seen(value.turn), value.created, value.lease, context)
        case Sweep():
            return (value.scanned, seen(value.removed), sorted(value.busy))
        case tuple():
            return tuple(seen(one) for one in value)
        case _:
            return value


class Machine(RuleBasedStateMachine):
    """The same steps on two stores."""

    def __init__(self, kind: Kind, new_place: Callable[[], str]) -> None:
        super().__init__()
        self.kind = kind
        self.place = new_place()
        self.loop = asyncio.Runner()
        self.now = 0.0
        self.memory = MemoryStore(clock=lambda: self.now)
        self.other = kind.open(self.place)
        self.leases: dict[str, Lease] = {}
        """Those of running turns, by thread."""
        self.renewed = time.monotonic()
        self.count = 0

    @initialize()
    def begin_with_some(self) -> None:
        """Have two threads with turns to fork and undo."""
        self.bring("a", 2019, ["tea", "milk", "green", "tea and milk"], archived=False)
        self.bring("b", 2039, ["café", "tea"], archived=False)

    def teardown(self) -> None:
        """Close both."""
        self.loop.run(self.other.aclose())
        self.loop.close()

    def both(self, call: Call) -> object:
        """Do it on both stores, see the same come of it, and return what came of it in memory."""
        expected, got = self.outcome(self.memory, call), self.outcome(self.other, call)
        assert seen(got) == seen(expected)
        return expected

    def outcome(self, store: ThreadStore, call: Call) -> object:
        """Return what a call returns, or the name of its error."""

        async def run() -> object:
            return await call(store)

        try:
            return self.loop.run(run())
        except ChatcliError as error:
            return error.name

    def new_turn(self, thread_id: str, text: str, key: str | None = None) -> NewTurn:
        """Return a turn that is the same for both stores."""
        self.count += 1
        turn_id = f"turn-{self.count}"
        prompt = Message(message_id(turn_id, 0), Role.HUMAN, text, start_of(2000))
        return NewTurn(
            LOCAL_OWNER,
            thread_id,
            turn_id,
            f"offline:{self.count}",
            (prompt,),
            title=f"Title {self.count}",
            idempotency_key=key,
            context_limit=5,
        )

    @rule(name=NAMES, text=SAID, key=st.sampled_from([None, None, "k"]))
    def begin(self, name: str, text: str, key: str | None) -> None:
        """Begin a turn, which may be refused, or be there already."""
        new = self.new_turn(name, text, key)
        begun = self.both(lambda store: store.begin(new))
        if isinstance(begun, Begun) and begun.lease is not None:
            self.leases[name] = begun.lease

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), text=SAID, state=ENDS)
    def commit(self, data: st.DataObject, text: str, state: TurnState) -> None:
        """End a running turn."""
        name = data.draw(st.sampled_from(sorted(self.leases)))
        lease = self.leases.pop(name)
        said = (Message(message_id(lease.turn_id, 1), Role.AI, text, start_of(2000)),) if text else ()
        self.both(lambda store: store.commit(lease, Outcome(state, said)))

    @rule(name=NAMES, text=SAID, reply=SAID)
    def say(self, name: str, text: str, reply: str) -> None:
        """Run a whole turn."""
        self.begin(name, text, None)
        if name in self.leases:
            lease = self.leases.pop(name)
            said = (Message(message_id(lease.turn_id, 1), Role.AI, reply, start_of(2000)),)
            self.both(lambda store: store.commit(lease, Outcome(TurnState.COMPLETE, said)))

    @rule(name=NAMES, title=SAID)
    def rename(self, name: str, title: str) -> None:
        """Give a title."""
        self.both(lambda store: store.rename(LOCAL_OWNER, name, title))

    @rule(name=NAMES)
    def clear(self, name: str) -> None:
        """Remove all turns."""
        self.both(lambda store: store.clear(LOCAL_OWNER, name))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        """Remove a thread."""
        self.both(lambda store: store.delete(LOCAL_OWNER, name))

    @rule(name=NAMES, archived=st.booleans())
    def archive(self, name: str, archived: bool) -> None:  # noqa: FBT001
        """Archive or restore."""
        self.both(lambda store: store.archive(LOCAL_OWNER, name, archived=archived))

    @rule(data=st.data(), undo=st.booleans())
    def fork(self, data: st.DataObject, undo: bool) -> None:  # noqa: FBT001
        """Fork or undo, mostly what is there, and mostly under a new name."""
        threads = self.memory_threads()
        name = data.draw(st.sampled_from([*threads, "a", "e"]))
        fork_id = data.draw(st.sampled_from([one for one in FORKS if one not in threads] or ["a", "b"]))
        turns = data.draw(st.integers(0, threads.get(name, 0) + 1))
        if undo:
            call: Call = lambda store: store.undo(  # noqa: E731
                LOCAL_OWNER, name, fork_id=fork_id, title="Undone", turns=turns
            )
        else:
            call = lambda store: store.fork(  # noqa: E731
                LOCAL_OWNER, name, fork_id=fork_id, title="Fork", turns=turns
            )
        self.both(call)

    @rule(data=st.data(), how=st.sampled_from(["delete", "clear", "say", "say"]))
    def change_what_is_there(self, data: st.DataObject, how: str) -> None:
        """Take away a thread that others may share turns with, or go on with it."""
        name = data.draw(st.sampled_from([*self.memory_threads(), "a"]))
        if how == "say":
            self.say(name, "tea", "milk")
        else:
            self.both(lambda store: getattr(store, how)(LOCAL_OWNER, name))

    def memory_threads(self) -> dict[str, int]:
        """Return how many turns each thread has."""
        page = self.loop.run(self.memory.threads(LOCAL_OWNER, limit=99, archived=None))
        return {thread.id: thread.turn_count for thread in page.threads}

    @rule(name=NAMES, year=YEARS, texts=st.lists(SAID, max_size=3), archived=st.booleans())
    def bring(self, name: str, year: int, texts: list[str], archived: bool) -> None:  # noqa: FBT001
        """Import a thread, as if its clock had been wrong; and once more."""
        moment = start_of(year)
        turns = [
            Turn(
                f"{name}-{index}",
                index,
                TurnState.COMPLETE,
                moment,
                "offline:import",
                (Message(f"{name}-{index}.0", Role.HUMAN, text, moment),),
            )
            for index, text in enumerate(texts, 1)
        ]
        mark = moment if archived else None
        thread = Thread(name, LOCAL_OWNER, "Import", "English", len(turns), moment, moment, mark)
        for _ in range(2):
            self.both(lambda store: store.import_thread(thread, turns))

    @rule(year=YEARS, archived_only=st.booleans(), keep=NUMBERS, limit=st.integers(1, 4))
    def sweep(self, year: int, archived_only: bool, keep: int, limit: int) -> None:  # noqa: FBT001
        """Clean up: first in a dry run, which removes nothing and tells the truth."""
        expiry = Expiry(start_of(year), archived_only=archived_only, keep=keep)
        dry = self.both(lambda store: _sweep(store, expiry, limit, dry_run=True))
        self.everything_is_the_same()
        assert self.both(lambda store: _sweep(store, expiry, limit, dry_run=False)) == dry
        assert isinstance(dry, Sweep)
        self.leases = {name: lease for name, lease in self.leases.items() if name not in _ids(dry.removed)}

    @rule(text=QUERIES, archived=ANY_MARK)
    def search(self, text: str, archived: bool | None) -> None:  # noqa: FBT001
        """Search."""
        self.both(lambda store: _search(store, text, archived=archived))

    @rule()
    def lose_the_process(self) -> None:
        """Die, so that running turns become orphans, and begin again."""
        if self.kind.shared:
            self.loop.run(self.other.aclose())
            self.other = self.kind.open(self.place)
            self.now += LEASE_SECONDS + 1
            self.leases.clear()

    @invariant()
    def everything_is_the_same(self) -> None:
        """Compare lists, threads, turns and contexts."""
        self.renew_in_time()
        ids = self.both(_list)
        assert isinstance(ids, tuple)
        for name in ids:
            self.both(lambda store, name=name: store.thread(LOCAL_OWNER, name))  # type: ignore[misc]
            self.both(lambda store, name=name: store.turns(LOCAL_OWNER, name))  # type: ignore[misc]
            self.both(lambda store, name=name: store.turns(LOCAL_OWNER, name, after=1, limit=2))  # type: ignore[misc]
            self.both(lambda store, name=name: store.context(LOCAL_OWNER, name, limit=3))  # type: ignore[misc]

    def renew_in_time(self) -> None:
        """Hold the leases as those who run turns do: on a busy machine the steps may outlast them."""
        if time.monotonic() - self.renewed > LEASE_SECONDS / 6:
            for lease in self.leases.values():
                self.outcome(self.other, lambda store, lease=lease: store.renew(lease))  # type: ignore[misc]
            self.renewed = time.monotonic()

    @invariant()
    def chains_are_short(self) -> None:
        """In SQLite the last turn that a fork shares is its base's own, and belongs to nobody else."""
        if not self.place.startswith("sqlite:") or not Path(self.place.removeprefix("sqlite:///")).exists():
            return
        with closing(sqlite3.connect(self.place.removeprefix("sqlite:///"))) as file:
            loose = file.execute(
                "SELECT forks.id FROM threads AS forks JOIN threads AS bases ON bases.key = forks.base"
                " WHERE forks.base_turns <= bases.base_turns OR forks.base_turns > bases.turn_count"
                " UNION SELECT id FROM threads WHERE base IS NULL AND base_turns > 0"
            ).fetchall()
            assert loose == []
            stray = (
                "SELECT * FROM turns JOIN threads ON key = thread WHERE idx <= base_turns OR idx > turn_count"
            )
            assert file.execute(stray).fetchall() == []
            assert file.execute("PRAGMA foreign_key_check").fetchall() == []


def _ids(threads: tuple[Thread, ...]) -> tuple[str, ...]:
    return tuple(thread.id for thread in threads)


async def _list(store: ThreadStore) -> tuple[str, ...]:
    """Return all ids, page by page."""
    found: tuple[str, ...] = ()
    cursor = None
    while True:
        page = await store.threads(LOCAL_OWNER, limit=2, cursor=cursor, archived=None)
        found += _ids(page.threads)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def _search(store: ThreadStore, text: str, *, archived: bool | None) -> tuple[object, ...]:
    hits = await store.search(LOCAL_OWNER, text, limit=4, archived=archived)
    return tuple((hit.thread, hit.turn_index, hit.line, hit.marks) for hit in hits)


async def _sweep(store: ThreadStore, expiry: Expiry, limit: int, *, dry_run: bool) -> Sweep:
    """Return the sum of all steps; what is freed depends on how a store shares turns."""
    total = Sweep(0, (), (), None)
    cursor = None
    while True:
        step = await store.sweep(LOCAL_OWNER, expiry, limit=limit, cursor=cursor, dry_run=dry_run)
        total = Sweep(
            total.scanned + step.scanned, total.removed + step.removed, total.busy + step.busy, None
        )
        cursor = step.cursor
        if cursor is None:
            return total


def test_machine(kind: Kind, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """No sequence of steps makes a store differ from the one in memory."""

    def new_place() -> str:
        if kind.server is not None:
            url: str = request.getfixturevalue(kind.server).url()
            return url
        return kind.url(Path(tempfile.mkdtemp(dir=tmp_path)))

    runs: int = request.config.getoption("--machines")
    long = runs > DEFAULT_RUNS
    run_state_machine_as_test(
        lambda: Machine(kind, new_place),  # type: ignore[arg-type] # anything that makes one will do
        settings=settings(
            max_examples=runs,
            stateful_step_count=50 if long else 25,
            derandomize=not long,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if long else [Phase.generate],
        ),
    )
