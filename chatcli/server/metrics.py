"""What Prometheus is told. Labels have few values, all of them ours: no client can make new ones."""

import time
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from chatcli.errors import ChatcliError
from chatcli.events import Finished
from chatcli.stores.base import ThreadStore

if TYPE_CHECKING:
    from chatcli.server.live import LiveTurn

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_RATES = (1.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0)


class Metrics:
    """The counters of one process; with `directory` those of all workers are shown together."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "chatcli_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "chatcli_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.turns = Counter("chatcli_turns", "Turns ended.", ("state",), registry=registry)
        self.tokens = Counter(
            "chatcli_tokens", "Tokens, as providers count them.", ("direction",), registry=registry
        )
        self.first_token = Histogram(
            "chatcli_first_token_seconds",
            "Time from the order of a turn to its first token.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.token_rate = Histogram(
            "chatcli_tokens_per_second", "Tokens a second of a turn.", buckets=_RATES, registry=registry
        )
        self.streams = Gauge(
            "chatcli_open_streams", "Streams being read.", registry=registry, multiprocess_mode="livesum"
        )
        self.store_seconds = Histogram(
            "chatcli_store_seconds",
            "Time of a call of the store.",
            ("call",),
            buckets=_FAST,
            registry=registry,
        )
        self.store_errors = Counter(
            "chatcli_store_errors", "Calls of the store that failed.", ("call", "error"), registry=registry
        )
        self.refusals = Counter(
            "chatcli_refusals", "Requests refused before they were read.", ("error",), registry=registry
        )

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        known = method if method in _METHODS else "other"
        self.requests.labels(known, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def count_turn(self, live: "LiveTurn") -> None:
        """Count a turn that ended, or that never began."""
        outcome = live.outcome
        if outcome is None:
            self.turns.labels("refused").inc()
            return
        self.turns.labels(outcome.state.value).inc()
        if live.first_token_at is not None:
            self.first_token.observe(live.first_token_at - live.began_at)
        if isinstance(outcome, Finished) and outcome.usage is not None and not outcome.replayed:
            self.tokens.labels("input").inc(outcome.usage.input_tokens)
            self.tokens.labels("output").inc(outcome.usage.output_tokens)
            if live.first_token_at is not None and live.ended_at > live.first_token_at:
                rate = outcome.usage.output_tokens / (live.ended_at - live.first_token_at)
                self.token_rate.observe(rate)

    def show(self) -> bytes:
        """Return everything in the text format."""
        if self._directory is None:
            return generate_latest(self._registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._directory))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class _TimedStore:
    """A store whose calls are timed; everything else is the store's own."""

    def __init__(self, store: ThreadStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name.startswith("_") or not callable(found):
            return found
        timed = self._time(found, name)
        setattr(self, name, timed)
        return timed

    def _time(self, call: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Awaitable[Any]]:
        metrics = self._metrics

        @wraps(call)
        async def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return await call(*args, **options)
            except ChatcliError as error:
                metrics.store_errors.labels(name, error.name).inc()
                raise
            finally:
                metrics.store_seconds.labels(name).observe(time.perf_counter() - start)

        return timed


def time_store(store: ThreadStore, metrics: Metrics) -> ThreadStore:
    """Return `store` with its calls timed."""
    return cast("ThreadStore", _TimedStore(store, metrics))
