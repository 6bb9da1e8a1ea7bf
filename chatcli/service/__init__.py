"""`ChatService`: what every door does with threads. Importing it costs nothing; a turn imports the rest."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from chatcli.errors import ChatcliError, InvalidRequest, ThreadNotFound
from chatcli.frozen import replace
from chatcli.models import LOCAL_OWNER, Message, Role, Thread, text_of, utc_now
from chatcli.service.providers import Providers
from chatcli.service.requests import TurnRequest, fingerprint, thread_of_key
from chatcli.service.threads import ThreadService, candidates
from chatcli.stores import open_store
from chatcli.stores.base import Begun, NewTurn, ThreadStore, message_id
from chatcli.text import check_thread_id, is_generated_id, new_id, title_of

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractAsyncContextManager
    from weakref import WeakValueDictionary

    from chatcli.config import Settings
    from chatcli.providers.base import Provider
    from chatcli.providers.limiter import Limiter
    from chatcli.service.auditing import Actor
    from chatcli.service.graph import TurnGraph
    from chatcli.service.turn import RunningTurn

__all__ = ["ChatService", "TurnRequest", "open_service"]

UNTITLED = "(no text)"
"""Title of a thread that begins with a picture and no word."""


class ChatService(ThreadService):
    """The threads of one owner in one store, and the turns that run on them."""

    def __init__(
        self,
        store: ThreadStore,
        settings: "Settings",
        *,
        owner: str = LOCAL_OWNER,
        actor: "Actor | None" = None,
    ) -> None:
        super().__init__(store, owner=owner, actor=actor)
        self.settings = settings
        self.wrap_provider: Callable[[Provider], Provider] | None = None
        """What is put around each provider, for whoever watches how it is asked."""
        self._providers = Providers()
        self._limiter: Limiter | None = None
        self._graph: TurnGraph | None = None
        self._locks: WeakValueDictionary[str, asyncio.Lock] | None = None

    def for_owner(self, owner: str) -> "ChatService":
        """Return another owner's service over the same store and providers; only this one is closed."""
        other = ChatService(self.store, self.settings, owner=owner, actor=self.actor)
        other.wrap_provider, other._providers = self.wrap_provider, self._providers
        other._limiter = self._outbound_limiter()
        return other

    async def aclose(self) -> None:
        """Close providers and store; the audit is told if keys were missing."""
        await self._providers.aclose()
        if self._limiter is not None:
            await self._limiter.aclose()
        try:
            if refused := self.take_refused_keys():
                with suppress(ChatcliError):  # the store may be read-only: what was asked for failed anyway
                    await self.record("key-refused", count=refused, outcome="refused")
        finally:
            await self.store.aclose()

    # Turns -------------------------------------------------------------------------------------

    @property
    def context_messages(self) -> int:
        """How many messages of a thread are sent to a model."""
        return self.settings.max_conversation_length

    async def find_model(self, spec: str | None, thread: Thread | None) -> str:
        """Return the model that a turn would ask; raise `ConfigError` or its like if it can't be asked."""
        async with self._provider(spec, thread) as provider:
            return provider.spec

    async def model_names(self) -> Sequence[str]:
        """Return what may stand for a model, without asking a provider."""
        from chatcli.providers.table import known_names

        return known_names(self.settings)

    async def models(self, spec: str | None = None) -> Sequence[str]:
        """Ask the provider of `spec` (or of the settings) for the models that it offers."""
        async with self._provider(spec, None) as provider:
            return await provider.models()

    @asynccontextmanager
    async def turn(self, request: TurnRequest) -> AsyncIterator["RunningTurn"]:
        """Begin a turn and run it; leaving the block ends it, and its end is stored by then.

        Everything that can be wrong before the model is asked is raised here, and nothing is
        written then. What happens afterwards comes as the turn's last event.

        Raises:
            InvalidRequest, InvalidText, TooLong, ThreadNotFound, ThreadArchived, ConfigError;
            ThreadBusy after `request.wait` seconds; StoreUnavailable, NotSaved (read-only) and the
            other errors of the store.
        """
        from chatcli.service.graph import TurnGraph
        from chatcli.service.turn import RunningTurn, TurnPlan
        from chatcli.service.waiting import Waiting

        request.check()
        if self._graph is None:
            self._graph = TurnGraph(self.store, self.owner)
        thread = None
        if not request.save or (request.model is None and self.settings.model is None):
            thread = await self._existing(request)
        async with self._provider(request.model, thread) as provider:
            new = self._new_turn(request, provider.spec)
            waiting = Waiting(request.wait, request.on_wait)
            async with waiting.for_lock(self._lock(new.thread_id)):
                if request.save:
                    begun = await waiting.for_thread(lambda: self._begin(new, request))
                else:
                    begun = await self._unsaved(new, thread)
                running = RunningTurn(
                    TurnPlan(
                        store=self.store,
                        settings=self.settings,
                        graph=self._graph,
                        provider=provider,
                        limiter=self._outbound_limiter(),
                        options=request.options,
                        begun=begun,
                    )
                )
                running.start()
                try:
                    yield running
                finally:
                    await running.aclose()

    async def _existing(self, request: TurnRequest) -> Thread | None:
        """Return the request's thread; None if it is yet to be made."""
        if request.thread_id is None:
            return None
        try:
            return await self.store.thread(self.owner, check_thread_id(request.thread_id))
        except ThreadNotFound:
            if request.must_exist:
                raise
        return None

    async def _begin(self, new: NewTurn, request: TurnRequest) -> Begun:
        """Begin on the thread that is there, or make it if its id is not just the beginning of others."""
        if request.thread_id is not None:
            try:
                return await self.store.begin(replace(new, create=False))
            except ThreadNotFound:
                if request.must_exist:
                    raise
            await self._refuse_beginning(new.thread_id)
        return await self.store.begin(new)

    async def _refuse_beginning(self, thread_id: str) -> None:
        found = [thread for thread in await self.beginning_with(thread_id) if is_generated_id(thread.id)]
        if found:
            raise InvalidRequest(
                f"there is no thread {thread_id}, and it is the beginning of other ids",
                hint=candidates(found),
            )

    async def _unsaved(self, new: NewTurn, thread: Thread | None) -> Begun:
        """Return what `begin` would, with nothing written."""
        from chatcli.stores.memory import MemoryStore

        if thread is None:
            begun = await MemoryStore().begin(new)
            return replace(begun, lease=None, created=False)
        new = replace(new, system=new.system or thread.system, language=new.language or thread.language)
        begun = await MemoryStore().begin(new)
        context = await self.store.context(self.owner, thread.id, limit=new.context_limit)
        return replace(begun, lease=None, created=False, context=context)

    def _new_turn(self, request: TurnRequest, model: str) -> NewTurn:
        text = text_of(request.prompt)
        turn_id, now, key = new_id(), utc_now(), request.idempotency_key
        prompt = [(Role.HUMAN, request.prompt)]
        if request.system is not None:
            prompt.insert(0, (Role.SYSTEM, request.system))
        return NewTurn(
            owner=self.owner,
            thread_id=request.thread_id or (new_id() if key is None else thread_of_key(key)),
            turn_id=turn_id,
            model=model,
            prompt=tuple(
                Message(message_id(turn_id, index), role, content, now)
                for index, (role, content) in enumerate(prompt)
            ),
            title=request.title or title_of(text) or UNTITLED,
            rename=request.title is not None,
            language=request.language,
            system=request.system,
            context_limit=self.settings.max_conversation_length,
            idempotency_key=key,
            fingerprint=None if key is None else fingerprint(request, model),
        )

    def _provider(self, spec: str | None, thread: Thread | None) -> "AbstractAsyncContextManager[Provider]":
        """Lend the provider of a model: asked for, set, or used last on the thread, in this order."""
        from chatcli.providers import open_provider
        from chatcli.providers.table import resolve_model

        if spec is None and thread is not None and self.settings.model is None:
            spec = thread.model
        resolved = resolve_model(self.settings, spec)

        def make() -> "Provider":
            provider = open_provider(self.settings, resolved)
            return provider if self.wrap_provider is None else self.wrap_provider(provider)

        return self._providers.borrow(str(resolved), make)

    def _outbound_limiter(self) -> "Limiter | None":
        if self._limiter is None:
            from chatcli.providers.limiter import Limiter

            self._limiter = Limiter(self.settings)
        return self._limiter

    def _lock(self, thread_id: str) -> "asyncio.Lock":
        """Return the lock of a thread in this process: it keeps its waiters in order of arrival."""
        import asyncio
        from weakref import WeakValueDictionary

        if self._locks is None:
            self._locks = WeakValueDictionary()
        lock = self._locks.get(thread_id)
        if lock is None:
            lock = self._locks[thread_id] = asyncio.Lock()
        return lock


def open_service(settings: "Settings", *, threaded: bool = False) -> ChatService:
    """Return the service over the store of `settings`, encrypted where a key is set.

    With `threaded` the store works on a thread of its own; without it, its coroutines never
    suspend where the store allows that. Where the settings name a server, its threads are used.
    """
    if settings.server is not None:
        from chatcli.service.remote import RemoteService

        return RemoteService(settings)
    from chatcli.stores.encrypted import protect

    store = open_store(settings.store, threaded=threaded, settings=settings)
    return ChatService(protect(store, settings.encryption_key), settings)
