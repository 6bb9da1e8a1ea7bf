"""What the fake provider answers, by the name of the model in the request.

Answers:

==================  ==============================================================================
anything else       the words of `DEFAULT_ANSWER`, then ``finish_reason`` ``stop`` and usage
``tokens-N``        N tokens: ``w0 w1 …``
``echo``            the text of the last message
``echo-count``      how many messages the request held
``reason``          two pieces of reasoning, then the default answer
``slow``            the default answer; each token waits for a ``POST /_release``
``slow-N``          N tokens, each of which waits; ``slow-echo`` the words of the last message
``paced-F-G-N``     N tokens: the first after F milliseconds, each next one G milliseconds later
``length``          some text, then ``finish_reason`` ``length``; ``length-empty`` without text
``filter``          some text, then ``finish_reason`` ``content_filter``; ``filter-empty`` without
``surrogates``      a pair cut in two, a whole pair, and a lone half
``esc``             terminal control sequences
``huge-line``       one event of 20 MB
==================  ==============================================================================

Errors with a status; each body repeats the key that was sent, as real providers do:

==================  ==============================================================================
``err-401`` …       that status: 400, 401, 402, 403, 404, 408, 413, 422, 500, 503 and any other
``err-context``     400 ``context_length_exceeded``
``err-param``       400 about the parameter ``temperature``
``err-key-400``     400 with ``API key not valid``, as some providers say 401
``err-429``         429 with ``Retry-After: 1``; ``err-429-X`` with X; ``err-429-long`` with 3600;
                    ``err-429-bare`` without
``err-quota``       429 ``insufficient_quota``
``err-502-html``    502 with a page
``…-then-ok``       any of these to the first request that names it, then the default answer
``redirect``        307 to a second host, which counts what reaches it
==================  ==============================================================================

Broken streams:

==================  ==============================================================================
``hang``            nothing at all; ``silent`` headers, then nothing; ``stall`` two tokens, then
                    nothing
``drop``            two tokens, then the connection is lost; ``drop-first`` before the first
                    token; ``drop-headers`` before the headers; each also with ``-then-ok``
``no-finish``       a clean end with text and without a ``finish_reason``; ``no-done`` without
                    ``[DONE]`` too
``empty``           200 and no event; ``done-only`` just ``[DONE]``; ``stop-only`` a
                    ``finish_reason`` and no text
``html-200``        200 with a page
``garbage``         two tokens, then a line that is no JSON; ``not-object`` JSON that is no object
``bad-bytes``       two tokens, then bytes that are not UTF-8
``error-mid``       two tokens, then an error object; ``error-first`` without the tokens
``no-choices``      events without choices; ``odd-choices`` choices of the wrong type
``endless-line``    bytes without a line end until the client goes away
==================  ==============================================================================
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

DEFAULT_ANSWER = "Hello from the fake provider."
SURROGATES = ("a\ud83d", "\ude00b", "\U0001f680", "c\ud83d", "d")
ESCAPES = "red \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J \u202eevil"
HUGE = 20_000_000
Ending = Literal["clean", "drop", "hang"]


@dataclass
class Reply:
    """One answer: a status and headers, then pieces of a body, and how it ends."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: AsyncIterator[bytes] | None = None
    body: bytes = b""
    ending: Ending = "clean"
    headless: bool = False
    """No headers at all: `ending` says what happens instead."""


@dataclass
class Asked:
    """What a script may look at: the request's body, the key, and how often the model was asked."""

    body: dict[str, Any]
    key: str
    count: int
    second_host: str
    gate: Any
    """Semaphore on which each token of a gated answer waits."""


def event(data: object) -> bytes:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **extra: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(
        {"id": "c1", "object": "chat.completion.chunk", "model": "fake", "choices": [choice], **extra}
    )


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": tokens + 7}


def text(words: list[str]) -> list[bytes]:
    return [chunk({"content": word}) for word in words]


def ended(asked: Asked, finish: str, tokens: int) -> list[bytes]:
    """Return the last events: Groq puts usage into the last chunk, OpenAI sends one more if asked."""
    last = [chunk({}, finish, x_groq={"id": "g1", "usage": usage(tokens)})]
    if asked.body.get("stream_options", {}).get("include_usage"):
        last.append(
            event({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": usage(tokens)})
        )
    return [*last, event("[DONE]")]


def words_of(answer: str) -> list[str]:
    head, *rest = answer.split(" ")
    return [head, *(f" {word}" for word in rest)]


def content_of(message: dict[str, Any]) -> str:
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def failure(
    asked: Asked, status: int, *, code: str | None = None, param: str | None = None, **headers: str
) -> Reply:
    opening = "Incorrect API key provided" if status == 401 else "This did not work with the key"
    message = f"{opening} {asked.key}: {code or 'no luck'}"
    error = {"message": message, "type": code or "error", "code": code, "param": param}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        status, {"content-type": "application/json", **named}, body=json.dumps({"error": error}).encode()
    )


def error_reply(asked: Asked, name: str) -> Reply:
    match name.split("-"):
        case ["context"]:
            return failure(asked, 400, code="context_length_exceeded")
        case ["param"]:
            return failure(asked, 400, code="unsupported_value", param="temperature")
        case ["key", "400"]:
            page = {"error": {"message": f"API key not valid: {asked.key}", "code": 400}}
            return Reply(400, {"content-type": "application/json"}, body=json.dumps(page).encode())
        case ["quota"]:
            return failure(asked, 429, code="insufficient_quota", retry_after="1")
        case ["429", "bare"]:
            return failure(asked, 429, code="rate_limit_exceeded")
        case ["429", *rest]:
            seconds = {"": "1", "long": "3600"}.get("".join(rest), "".join(rest))
            return failure(asked, 429, code="rate_limit_exceeded", retry_after=seconds)
        case ["404"]:
            return failure(asked, 404, code="model_not_found")
        case [_, "html"]:
            page_text = f"<html><body>Bad gateway for {asked.key}</body></html>"
            return Reply(502, {"content-type": "text/html"}, body=page_text.encode())
        case [status]:
            return failure(asked, int(status))
    raise ValueError(name)


def broken(asked: Asked, model: str) -> Reply | list[bytes] | None:
    """Return the answer of a model with a broken stream, None for any other model."""
    some = text(["Hello", " from"])
    secret = {"error": {"message": f"Sorry, {asked.key}", "type": "server_error", "code": "server_error"}}
    streams: dict[str, list[bytes]] = {
        "no-finish": [*some, event("[DONE]")],
        "no-done": some,
        "empty": [],
        "done-only": [event("[DONE]")],
        "stop-only": ended(asked, "stop", 0),
        "garbage": [*some, event('{"choices": [nonsense ' + asked.key)],
        "not-object": [*some, event("[1, 2, 3]")],
        "bad-bytes": [*some, b'data: {"choices": [{"index": 0, "delta": {"content": "\xff\xfe"}}]}\n\n'],
        "error-mid": [*some, event(secret)],
        "error-first": [event(secret)],
        "no-choices": [event({"id": "c1", "object": "chat.completion.chunk"}), event("[DONE]")],
        "odd-choices": [event({"id": "c1", "choices": [asked.key]}), event("[DONE]")],
    }
    if model in streams:
        return streams[model]
    endings: dict[str, tuple[list[bytes], Ending]] = {
        "silent": ([], "hang"),
        "stall": (some, "hang"),
        "drop": (some, "drop"),
        "drop-first": ([], "drop"),
    }
    if model in endings:
        pieces, ending = endings[model]
        return Reply(headers=STREAM, pieces=each(pieces), ending=ending)
    if model in ("hang", "drop-headers"):
        return Reply(headless=True, ending="hang" if model == "hang" else "drop")
    return None


def answer(asked: Asked, model: str) -> list[bytes]:
    """Return the events of a whole answer."""
    match model.split("-"):
        case ["tokens", count]:
            words = [f"w{number} " for number in range(int(count))]
        case ["echo"]:
            words = words_of(content_of(asked.body["messages"][-1]))
        case ["echo", "count"]:
            words = [str(len(asked.body["messages"]))]
        case ["surrogates"]:
            words = list(SURROGATES)
        case ["esc"]:
            words = words_of(ESCAPES)
        case ["huge", "line"]:
            words = ["x" * HUGE]
        case ["length" | "filter" as why, *rest]:
            words = [] if rest == ["empty"] else ["Hello", " from"]
            finish = "content_filter" if why == "filter" else why
            return [*text(words), *ended(asked, finish, len(words))]
        case _:
            words = words_of(DEFAULT_ANSWER)
    return [chunk({"role": "assistant", "content": ""}), *text(words), *ended(asked, "stop", len(words))]


def reply_to(asked: Asked) -> Reply:
    """Return the answer to one request."""
    model = str(asked.body.get("model", ""))
    if model.endswith("-then-ok"):
        model = "default" if asked.count > 1 else model.removesuffix("-then-ok")
    if model.startswith("err-"):
        return error_reply(asked, model.removeprefix("err-"))
    if model == "redirect":
        return Reply(307, {"location": f"{asked.second_host}/v1/chat/completions"})
    if model == "html-200":
        return Reply(
            200, {"content-type": "text/html"}, body=f"<html>\n\nWelcome {asked.key}\n\n</html>".encode()
        )
    if model == "endless-line":
        return Reply(headers=STREAM, pieces=endless())
    if model == "reason":
        thoughts = [chunk({"reasoning_content": "Let me"}), chunk({"reasoning": " think."})]
        return Reply(headers=STREAM, pieces=each([*thoughts, *answer(asked, "default")]))
    if model.startswith(("paced-", "slow")):
        return Reply(headers=STREAM, pieces=held_back(asked, model))
    found = broken(asked, model)
    if isinstance(found, Reply):
        return found
    events = answer(asked, model) if found is None else found
    if not asked.body.get("stream"):
        return whole(asked)
    return Reply(headers=STREAM, pieces=each(events))


def held_back(asked: Asked, model: str) -> AsyncIterator[bytes]:
    """Return the events of an answer whose tokens wait: for a time, or for a test."""
    if model.startswith("paced-"):
        first, gap, count = model.removeprefix("paced-").split("-")
        return paced(answer(asked, f"tokens-{count}"), int(first) / 1e3, int(gap) / 1e3)
    count = model.removeprefix("slow").removeprefix("-")
    whole = {"": "default", "echo": "echo"}.get(count, f"tokens-{count}")
    return gated(asked, answer(asked, whole))


def whole(asked: Asked) -> Reply:
    """Return the answer to a request that asked for no stream."""
    message = {"role": "assistant", "content": DEFAULT_ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    page = {"id": "c1", "object": "chat.completion", "model": "fake", "choices": [choice], "usage": usage(5)}
    return Reply(
        200, {"content-type": "application/json"}, body=json.dumps(page | {"created": asked.count}).encode()
    )


STREAM = {"content-type": "text/event-stream"}


async def each(events: list[bytes]) -> AsyncIterator[bytes]:
    for one in events:
        yield one


async def gated(asked: Asked, events: list[bytes]) -> AsyncIterator[bytes]:
    for one in events:
        if b'"content": "' in one and b'"content": ""' not in one:
            await asked.gate.acquire()
        yield one


async def paced(events: list[bytes], first: float, gap: float) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    due = loop.time() + first
    for one in events:
        if b'"content": "w' in one:
            moment = asyncio.Event()
            loop.call_at(due, moment.set)
            await moment.wait()
            due += gap
        yield one


async def endless() -> AsyncIterator[bytes]:
    yield b'data: {"choices": [{"index": 0, "delta": {"content": "'
    while True:
        yield b"x" * 1_000_000
