"""The routes of turns: a prompt answered as a stream or in one piece, and streams read again."""

from starlette.requests import Request
from starlette.responses import Response

from chatcli.errors import ChatcliError, ThreadBusy, ThreadNotFound
from chatcli.events import Failed, Finished, Started, Token
from chatcli.frozen import replace
from chatcli.models import Content, ModelOptions, Turn, TurnState, text_of
from chatcli.server import schemas
from chatcli.server.api import Api
from chatcli.server.exchange import GONE, exchange_of
from chatcli.server.live import LiveTurn, Reader
from chatcli.server.past import replay
from chatcli.server.problems import problem_response
from chatcli.server.requests import (
    accepts,
    answer_with,
    find_owner,
    find_place,
    read_body,
    read_event_id,
    read_key,
    read_query,
)
from chatcli.server.turns import TurnOrder
from chatcli.server.wire import HOLD_SECONDS, SSE, EventStream, Format, Lines, ServerSentEvents, unless_gone
from chatcli.service import ChatService, TurnRequest
from chatcli.service.requests import thread_of_key

LONGEST_WAIT = 30.0
"""Seconds that a turn waits for its thread to be free."""
DEFAULT_LANGUAGE = "English"
_NEAREST = 16
"""Turns at the end of a thread among which one is looked for first."""


async def stream(api: Api, request: Request) -> EventStream:
    """Answer a prompt as a stream."""
    asked = await read_body(api, request, schemas.StreamRequest, limit=api.options.max_body_bytes)
    live = await _begin(
        api,
        request,
        schemas.content_of(asked.input),
        asked,
        keep_running=asked.on_disconnect == "continue",
        tags=asked.session_metadata,
    )
    hold = HOLD_SECONDS if asked.hold else 0.0
    return _stream(api, request, live.attach(), _format(request), hold=hold)


async def chat(api: Api, request: Request) -> Response:
    """Answer a prompt in one piece."""
    asked = await read_body(api, request, schemas.ChatRequest)
    reader = (await _begin(api, request, asked.message, asked)).attach()
    answer: list[Response] = []

    async def collect() -> None:
        answer.append(await _collect(api, request, asked, reader))

    try:
        await unless_gone(collect(), request.receive)
    finally:
        reader.close()
    return answer[0] if answer else Response(status_code=GONE)


async def attach(api: Api, request: Request) -> EventStream | Response:
    """Read a turn that runs, or has ended, from a place in its stream on."""
    service, thread_id = find_place(api, request)
    turn_id = request.path_params["turn_id"]
    after = read_query(request, schemas.StreamQuery).after
    if (given := read_event_id(request)) is not None:
        after = given
    thread = await service.thread(thread_id)
    live = api.turns.find(service.owner, thread_id, turn_id)
    form = _format(request, numbered=True)
    if live is not None and not live.ended:
        return _stream(api, request, live.attach(after=after), form, hold=None)
    turn = await _find_turn(service, thread_id, turn_id)
    if live is None and turn.state is TurnState.RUNNING:
        raise ThreadBusy(
            "the turn runs in another process", hint="read it when it has ended", retry_after=1.0
        )
    if live is None or (after < 0 and turn.state is not TurnState.RUNNING):
        live = replay(thread, turn)
    if live.is_end(after):
        return Response(status_code=204)
    return _stream(api, request, live.attach(after=after), form, hold=None)


async def save(api: Api, request: Request) -> Response:
    """Store the end of a turn again that could not be stored, as long as the server has it."""
    service, thread_id = find_place(api, request)
    turn_id = request.path_params["turn_id"]
    live = api.turns.find(service.owner, thread_id, turn_id)
    is_lost = live is not None and live.outcome is not None and not live.outcome.saved
    if live is not None and live.turn is not None and is_lost:
        last = await live.turn.save_again()
        if isinstance(last, Failed):
            raise last.error
        live.outcome = last
    turn = await _find_turn(service, thread_id, turn_id)
    if turn.state is TurnState.RUNNING:
        raise ThreadBusy("the turn is still running", hint="save it when it has ended", retry_after=1.0)
    return answer_with(schemas.show_turn(turn))


async def _find_turn(service: ChatService, thread_id: str, turn_id: str) -> Turn:
    for tail in (_NEAREST, None):  # it is hardly ever an old one, and a thread may be long
        for turn in await service.turns(thread_id, tail=tail):
            if turn.id == turn_id:
                return turn
    raise ThreadNotFound("there is no such turn on this thread", hint="GET /threads/{id}/history lists them")


async def _begin(
    api: Api,
    request: Request,
    prompt: Content,
    asked: schemas.StreamRequest | schemas.ChatRequest,
    *,
    keep_running: bool = False,
    tags: dict[str, object] | None = None,
) -> LiveTurn:
    owner = find_owner(request)
    key = read_key(request)
    order = TurnOrder(
        service=api.service(owner),
        request=_turn_request(
            asked,
            TurnRequest(
                prompt=prompt,
                max_length=api.max_input_length,
                thread_id=asked.thread_id,
                model=asked.model,
                language=asked.language,
                idempotency_key=key,
                wait=LONGEST_WAIT if asked.on_busy == "wait" else 0.0,
            ),
        ),
        thread_id=thread_of_key(key) if key is not None and asked.thread_id is None else asked.thread_id,
        keep_running=keep_running,
        tags=tags or {},
    )
    live = await api.turns.begin(order)
    exchange = exchange_of(request.scope)
    exchange.live = live
    if api.options.log_messages:
        exchange.texts["prompt"] = text_of(prompt)
    return live


def _turn_request(asked: schemas.StreamRequest | schemas.ChatRequest, request: TurnRequest) -> TurnRequest:
    """Return `request` with what only streams can ask for."""
    if isinstance(asked, schemas.ChatRequest):
        return request
    return replace(
        request,
        system=asked.system,
        title=asked.title,
        options=ModelOptions(asked.temperature, asked.max_tokens),
        must_exist=asked.must_exist,
        save=asked.save,
        wait=request.wait if asked.wait is None or asked.on_busy == "reject" else asked.wait,
    )


async def _collect(api: Api, request: Request, asked: schemas.ChatRequest, reader: Reader) -> Response:
    started: Started | None = None
    pieces: list[str] = []
    while events := await reader.take():
        for _, event in events:
            if isinstance(event, Started):
                started = event
            elif isinstance(event, Token):
                pieces.append(event.content)
            elif isinstance(event, Failed):
                extensions = {
                    "thread_id": event.thread_id,
                    "turn_id": event.turn_id,
                    "state": event.state.value,
                }
                if pieces:  # what came all the same; where it is not stored this is the only copy
                    extensions["response"] = "".join(pieces)
                request_id = exchange_of(request.scope).request_id
                return problem_response(event.error, request_id, **extensions)
            elif isinstance(event, Finished) and started is not None:
                language = asked.language or await _language(api, request, event.thread_id)
                return _chat_answer(event, "".join(pieces), language)
    raise ChatcliError("the turn ended without an end")


async def _language(api: Api, request: Request, thread_id: str) -> str:
    """Return the thread's language; the answer is there, and does not wait for a store that fails."""
    try:
        return (await api.service(find_owner(request)).thread(thread_id)).language
    except ChatcliError:
        return DEFAULT_LANGUAGE


def _chat_answer(last: Finished, text: str, language: str) -> Response:
    usage = last.usage
    return answer_with(
        schemas.ChatAnswer(
            response=text,
            language=language,
            thread_id=last.thread_id,
            turn_id=last.turn_id,
            state=last.state,
            saved=last.saved,
            usage=None
            if usage is None
            else schemas.TokenUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens),
        )
    )


def _stream(
    api: Api, request: Request, reader: Reader, form: Format, *, hold: float | None = HOLD_SECONDS
) -> EventStream:
    exchange_of(request.scope).live = reader.live
    return EventStream(reader, form, metrics=api.metrics, hold=hold)


def _format(request: Request, *, numbered: bool = False) -> Format:
    request_id = exchange_of(request.scope).request_id
    if accepts(request, SSE):
        return ServerSentEvents(request_id)
    return Lines(request_id, numbered=numbered)
