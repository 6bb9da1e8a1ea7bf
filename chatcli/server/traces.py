"""Traces: OpenTelemetry where the extra is installed and a collector is named, LangSmith where it is on."""

import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, cast

from chatcli import __version__
from chatcli.errors import ChatcliError
from chatcli.models import Message, ModelOptions
from chatcli.providers.base import Delta, Provider
from chatcli.stores.base import Begun, CheckpointRow, Lease, NewTurn, Outcome, ThreadStore

if TYPE_CHECKING:
    from chatcli.config import Settings
    from chatcli.models import Turn
    from chatcli.server.live import LiveTurn
    from chatcli.server.turns import TurnOrder

_LAST_SECONDS = 5.0
"""How long the end waits for traces to be sent, and how long one request with them may take."""
_COLLECTORS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Traces:
    """What a turn runs in, so that it shows up where turns are watched."""

    def __init__(self, settings: "Settings") -> None:
        self._name = settings.project_name
        self._spans = _open_tracer(settings)
        self._langsmith = _open_langsmith(settings)

    @contextmanager
    def around_turn(self, order: "TurnOrder", live: "LiveTurn") -> Iterator[None]:
        """Trace one turn: its model, state, tokens and time to the first token; of its text nothing.

        LangSmith, where it is on, gets the messages: that is what it is for. Where it is off it is
        off, although its library would take other variables for a wish, too.
        """
        from langsmith import tracing_context

        client, project = self._langsmith or (None, None)
        with tracing_context(
            enabled=client is not None, client=client, project_name=project, metadata=order.tags or None
        ):
            if self._spans is None:
                yield
                return
            tracer, _ = self._spans
            with tracer.start_as_current_span("chat") as span:
                span.set_attribute("chatcli.owner", order.service.owner)
                for name, value in order.tags.items():
                    if isinstance(value, str | bool | int | float):
                        span.set_attribute(f"chatcli.session.{name}", value)
                yield
                _describe(span, live)

    def around_store(self, store: ThreadStore) -> ThreadStore:
        """Return a store whose turns show when they begin and when they are committed."""
        return store if self._spans is None else cast("ThreadStore", _TracedStore(store, self._spans[0]))

    def around_provider(self, provider: Provider) -> Provider:
        """Return a provider each of whose calls shows."""
        return provider if self._spans is None else _TracedProvider(provider, self._spans[0])

    def close(self) -> None:
        """Send what has not been sent."""
        if self._spans is not None:
            self._spans[1].shutdown()
        if self._langsmith is not None:
            self._langsmith[0].close(_LAST_SECONDS)


class _TracedStore:
    """A store with spans around both ends of a turn; everything else is the store's own."""

    def __init__(self, store: ThreadStore, tracer: Any) -> None:
        self._store = store
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def begin(self, new: NewTurn) -> Begun:
        with _span(self._tracer, "store begin"):
            return await self._store.begin(new)

    async def commit(self, lease: Lease, outcome: Outcome, checkpoint: CheckpointRow | None = None) -> "Turn":
        with _span(self._tracer, "store commit"):
            return await self._store.commit(lease, outcome, checkpoint)


class _TracedProvider:
    """A provider with a span around each call, until its last token."""

    def __init__(self, provider: Provider, tracer: Any) -> None:
        self._provider = provider
        self._tracer = tracer
        self.spec = provider.spec
        self.engine = provider.engine
        self.sends_finish_reason = provider.sends_finish_reason
        self.models = provider.models
        self.aclose = provider.aclose

    async def stream(
        self, messages: Sequence[Message], options: ModelOptions
    ) -> AsyncGenerator[Sequence[Delta]]:
        name, _, model = self.spec.partition(":")
        with _span(self._tracer, "provider call") as span:
            span.set_attribute("gen_ai.provider.name", name)
            span.set_attribute("gen_ai.request.model", model)
            # Of every engine it is a generator, which is to be closed here, and not when it is found.
            async with aclosing(
                cast("AsyncGenerator[Sequence[Delta]]", self._provider.stream(messages, options))
            ) as stream:
                async for deltas in stream:
                    yield deltas


@contextmanager
def _span(tracer: Any, name: str) -> Iterator[Any]:
    """A span within the turn's. It is nobody's parent, for generators end in contexts of others.

    Of an error it tells the name: more may be in a message than is for a collector.
    """
    span = tracer.start_span(name)
    try:
        yield span
    except ChatcliError as error:
        span.set_attribute("error.type", error.name)
        raise
    finally:
        span.end()


def _describe(span: Any, live: "LiveTurn") -> None:
    """Attributes by the semantic conventions of generative AI."""
    if live.started is not None:
        provider, _, model = live.started.model.partition(":")
        span.set_attribute("gen_ai.operation.name", "chat")
        span.set_attribute("gen_ai.provider.name", provider)
        span.set_attribute("gen_ai.request.model", model)
        span.set_attribute("gen_ai.conversation.id", live.started.thread_id)
    if live.first_token_at is not None:
        span.set_attribute("chatcli.first_token_seconds", live.first_token_at - live.began_at)


def _open_tracer(settings: "Settings") -> tuple[Any, Any] | None:
    """Return a tracer and its provider; the exporter reads the usual OTEL_… variables itself."""
    if not any(settings.environment.find(name) for name in _COLLECTORS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        import logging

        logging.getLogger(__name__).warning("traces need the extra: pip install 'chatcli[otel]'")
        return None
    resource = Resource.create({"service.name": settings.project_name, "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("chatcli"), provider


def _open_langsmith(settings: "Settings") -> tuple[Any, str | None] | None:
    """Return a client of LangSmith and the project's name.

    All that is set is handed over: the library reads the environment only, and would send what a
    ``.env`` keeps at home to its makers.
    """
    if not settings.langsmith_tracing:
        return None
    from langsmith import Client

    # By this variable the library decides, when a client is made, whether its thread may keep the
    # process alive: for minutes, where LangSmith does not answer.
    os.environ["LANGSMITH_USE_DAEMON"] = "true"
    endpoint, project = (
        settings.environment.find(name) for name in ("LANGSMITH_ENDPOINT", "LANGSMITH_PROJECT")
    )
    key = settings.langsmith_api_key
    client = Client(
        None if endpoint is None else endpoint.text,
        api_key=None if key is None else key.reveal(),
        timeout_ms=int(_LAST_SECONDS * 1000),
    )
    return client, None if project is None else project.text
