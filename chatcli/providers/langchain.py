"""Engines over LangChain's chat models: ChatOpenAI and ChatGroq."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from langchain_core.messages import AIMessageChunk

from chatcli.errors import ChatcliError
from chatcli.models import Message, ModelOptions, Usage
from chatcli.providers.base import Delta
from chatcli.providers.faults import Faults
from chatcli.providers.messages import to_wire
from chatcli.providers.transport import PLACEHOLDER, open_client

if TYPE_CHECKING:
    from chatcli.providers import Target

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What makes one engine: a chat model, the SDK's client under it, and the errors both raise."""

    name: str
    model: Any
    sdk: Any
    http: Any
    stream_class: Any
    prefix: str
    """What the SDK puts between its base URL and the paths of the API."""
    max_tokens: str
    """What the wire calls `ModelOptions.max_tokens`."""
    timeouts: tuple[type[Exception], ...]
    connections: tuple[type[Exception], ...]


class ChatModelProvider:
    """A LangChain chat model as a `chatcli.providers.base.Provider`."""

    def __init__(self, target: "Target", parts: Parts) -> None:
        self._target = target
        self._parts = parts
        self._faults = Faults(
            target.spec.provider,
            target.spec.model,
            has_key=target.key is not None,
            key_hint=target.key_hint,
        )

    @property
    def spec(self) -> str:
        """The model as the user names it."""
        return str(self._target.spec)

    @property
    def engine(self) -> str:
        """The name of the LangChain package."""
        return self._parts.name

    @property
    def sends_finish_reason(self) -> bool:
        """Whether a clean end of the stream with no finish reason means a cut answer."""
        return self._target.row.sends_finish_reason

    async def stream(
        self, messages: Sequence[Message], options: ModelOptions
    ) -> AsyncGenerator[Sequence[Delta]]:
        """Ask once and yield the answer as it arrives; see `Provider.stream`."""
        failure: ChatcliError | None = None
        exchange = _Exchange(partial(self._send, options=options), self._translate)
        model = self._parts.model.model_copy(update={"async_client": exchange})
        prompt = [to_wire(message) for message in messages]
        try:
            chunks = model.astream(prompt)
            async with aclosing(chunks):
                async for chunk in chunks:
                    delta = _to_delta(chunk, exchange.take_reasoning())
                    if delta is not None:
                        yield [delta]
        except Exception as error:  # noqa: BLE001 - the gate: nothing foreign may pass
            failure = self._translate(error)
        finally:
            await exchange.close()
        if failure is not None:
            # Out here, for inside the handler the foreign error would become its context.
            raise failure

    async def models(self) -> Sequence[str]:
        """Return the names of the models that the provider offers, sorted."""
        import asyncio

        failure: ChatcliError
        try:
            async with asyncio.timeout(self._target.timeouts.first_token):
                page = await self._parts.sdk.get(f"{self._parts.prefix}/models", cast_to=object)
            return sorted(str(item["id"]) for item in page["data"])
        except TimeoutError:
            failure = self._faults.silent(self._target.timeouts.first_token)
        except Exception as error:  # noqa: BLE001 - the gate
            failure = self._translate(error)
        raise failure

    async def aclose(self) -> None:
        """Close the connections."""
        await self._parts.http.aclose()

    async def _send(self, body: dict[str, Any], *, options: ModelOptions) -> Any:
        """Send the request that LangChain made of the messages, and return the SDK's stream of events.

        Through the SDK's generic ``post``, its events stay dictionaries: a third of the CPU of a
        token, and LangChain takes either.
        """
        # ChatGroq has a default temperature, and each package its own name for the other one.
        for name in ("temperature", "max_completion_tokens", "max_tokens"):
            body.pop(name, None)
        body["temperature"] = options.temperature
        body[self._parts.max_tokens] = options.max_tokens
        return await self._parts.sdk.post(
            f"{self._parts.prefix}/chat/completions",
            body={name: value for name, value in body.items() if value is not None},
            cast_to=object,
            stream=True,
            stream_cls=self._parts.stream_class,
        )

    def _translate(self, error: Exception) -> ChatcliError:
        if isinstance(error, ChatcliError):
            return error
        status = getattr(error, "status_code", None)
        if isinstance(status, int):
            headers = getattr(getattr(error, "response", None), "headers", {})
            return self._faults.status(status, headers, getattr(error, "body", None))
        if isinstance(error, self._parts.timeouts):
            return self._faults.connect_timeout()
        if isinstance(error, self._parts.connections):
            return self._faults.unreachable()
        # Its name alone: its text may be the provider's.
        logger.debug("an answer of %s could not be read: %s", self.spec, type(error).__name__)
        return self._faults.protocol()


class _Exchange:
    """One request and its stream of events, between a chat model and its SDK.

    It stands where the chat model expects the SDK's ``chat.completions``. That makes the stream one's
    own to close, keeps what the chat models drop (reasoning), and keeps foreign errors from them: they
    would hand them on to traces, and a provider may put the key in its words.
    """

    def __init__(self, send: Callable[..., Any], translate: Callable[[Exception], ChatcliError]) -> None:
        self._send = send
        self._translate = translate
        self._stream: Any = None
        self._reasoning: list[str] = []

    async def create(self, **body: Any) -> Self:
        failure: ChatcliError | None = None
        try:
            self._stream = await self._send(body)
        except Exception as error:  # noqa: BLE001 - the gate
            failure = self._translate(error)
        if failure is not None:
            raise failure
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        failure: ChatcliError | None = None
        try:
            async for event in self._stream:
                self._take_in(event)
                yield event
        except Exception as error:  # noqa: BLE001 - the gate
            failure = self._translate(error)
        if failure is not None:
            raise failure

    def _take_in(self, event: object) -> None:
        if not isinstance(event, dict):
            raise TypeError("an event is a JSON object")
        event["choices"] = event.get("choices") or []
        for choice in event["choices"][:1]:
            delta = choice.get("delta") or {}
            piece = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(piece, str):
                self._reasoning.append(piece)

    def take_reasoning(self) -> str:
        """Return what came since the last call."""
        taken, self._reasoning = self._reasoning, []
        return "".join(taken)

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()


def _to_delta(chunk: Any, reasoning: str) -> Delta | None:
    usage = chunk.usage_metadata if isinstance(chunk, AIMessageChunk) else None
    delta = Delta(
        text=chunk.content if isinstance(chunk.content, str) else chunk.text,
        reasoning=reasoning,
        finish_reason=chunk.response_metadata.get("finish_reason"),
        usage=None if usage is None else Usage(usage["input_tokens"], usage["output_tokens"]),
    )
    return None if delta == Delta() else delta


def open_openai(target: "Target") -> ChatModelProvider:
    """Return the engine for OpenAI and for every server that speaks its wire format."""
    import httpx2
    import openai
    from langchain_openai import ChatOpenAI

    http = open_client(
        httpx2, key=target.key, headers=target.headers, connect_timeout=target.timeouts.connect
    )
    sdk = openai.AsyncOpenAI(
        api_key=PLACEHOLDER, base_url=target.base_url, max_retries=0, timeout=http.timeout, http_client=http
    )
    # Everything that LangChain would look up in the environment is given here.
    model = ChatOpenAI(
        model=target.spec.model,
        api_key=PLACEHOLDER,  # type: ignore[arg-type]
        base_url=target.base_url,
        max_retries=0,
        stream_usage=target.row.asks_for_usage,
        stream_chunk_timeout=None,
        use_responses_api=False,
        openai_proxy="",
        http_socket_options=(),
        output_version=None,
        client=sdk,
        root_client=sdk,
        async_client=sdk,
        root_async_client=sdk,
    )
    return ChatModelProvider(
        target,
        Parts(
            name="langchain-openai",
            model=model,
            sdk=sdk,
            http=http,
            stream_class=openai.AsyncStream[object],
            prefix="",
            max_tokens=target.max_tokens_name,
            timeouts=(openai.APITimeoutError, httpx2.TimeoutException),
            connections=(openai.APIConnectionError, httpx2.TransportError),
        ),
    )


def open_groq(target: "Target") -> ChatModelProvider:
    """Return the engine for Groq."""
    import groq
    import httpx
    from langchain_groq import ChatGroq

    # Groq's SDK adds this part itself.
    base_url = target.base_url.removesuffix("/openai/v1")
    http = open_client(httpx, key=target.key, headers=target.headers, connect_timeout=target.timeouts.connect)
    sdk = groq.AsyncGroq(
        api_key=PLACEHOLDER, base_url=base_url, max_retries=0, timeout=http.timeout, http_client=http
    )
    model = ChatGroq(
        model=target.spec.model,
        api_key=PLACEHOLDER,  # type: ignore[arg-type]
        base_url=base_url,
        groq_proxy="",
        max_retries=0,
        output_version=None,
        client=sdk,
        async_client=sdk,
    )
    return ChatModelProvider(
        target,
        Parts(
            name="langchain-groq",
            model=model,
            sdk=sdk,
            http=http,
            stream_class=groq.AsyncStream[object],
            prefix="/openai/v1",
            max_tokens=target.max_tokens_name,
            timeouts=(groq.APITimeoutError, httpx.TimeoutException),
            connections=(groq.APIConnectionError, httpx.TransportError),
        ),
    )
