"""The routes of threads: listed, searched, shown, named, forked, cleared, archived, deleted."""

from starlette.requests import Request
from starlette.responses import Response

from chatcli.errors import InvalidRequest
from chatcli.server import schemas
from chatcli.server.api import Api
from chatcli.server.requests import answer_with, find_owner, find_place, read_body, read_query
from chatcli.service import ChatService


async def chat_history(api: Api, request: Request) -> Response:
    """List the messages of a thread."""
    service, thread_id = find_place(api, request)
    return answer_with(schemas.list_messages(await service.turns(thread_id)))


async def list_threads(api: Api, request: Request) -> Response:
    """List threads, or those in which words are found."""
    query = read_query(request, schemas.ThreadsQuery)
    service = api.service(find_owner(request))
    archived = {"false": False, "true": True, "all": None}[query.archived]
    if query.search is not None:
        hits = await service.search(query.search, limit=query.limit, archived=archived)
        found = [schemas.summarise(hit.thread, hit) for hit in hits]
        return answer_with(schemas.ThreadList(threads=found, next_cursor=None))
    page = await service.threads(
        limit=query.limit, cursor=query.cursor, archived=archived, prefix=query.prefix
    )
    listed = [schemas.summarise(thread) for thread in page.threads]
    return answer_with(schemas.ThreadList(threads=listed, next_cursor=page.next_cursor))


async def show(api: Api, request: Request) -> Response:
    """Show a thread with its turns, in full."""
    query = read_query(request, schemas.ThreadQuery)
    starts = query.after is not None
    if (query.limit is not None and not starts) or (query.tail is not None and starts):
        raise InvalidRequest("after goes without tail, and limit with after")
    service, thread_id = find_place(api, request)
    thread = await service.thread(thread_id)
    if query.after is not None:
        turns = await service.turns_after(thread_id, query.after, limit=query.limit)
    else:
        turns = () if query.tail == 0 else await service.turns(thread_id, tail=query.tail)
    return answer_with(schemas.show(thread, turns))


async def rename(api: Api, request: Request) -> Response:
    """Name a thread."""
    title = (await read_body(api, request, schemas.TitleRequest)).title
    service, thread_id = find_place(api, request)
    return answer_with(schemas.summarise(await service.rename(thread_id, title)))


async def fork(api: Api, request: Request) -> Response:
    """Make a thread from the first turns of another."""
    asked = await read_body(api, request, schemas.ForkRequest)
    service, thread_id = find_place(api, request)
    made = await service.fork(thread_id, turns=asked.turns, title=asked.title, fork_id=asked.fork_id)
    return answer_with(schemas.summarise(made), status=201)


async def undo(api: Api, request: Request) -> Response:
    """Take the last turns off a thread; the thread that is made from it still has them."""
    asked = await read_body(api, request, schemas.UndoRequest)
    service, thread_id = find_place(api, request)
    kept = await service.undo(thread_id, turns=asked.turns, fork_id=asked.fork_id)
    api.turns.forget(service.owner, thread_id)
    return answer_with(schemas.summarise(kept), status=201)


async def history(api: Api, request: Request) -> Response:
    """List the turns of a thread."""
    return await _history(*find_place(api, request))


async def clear(api: Api, request: Request) -> Response:
    """Remove the turns of a thread."""
    service, thread_id = find_place(api, request)
    await service.clear(thread_id)
    api.turns.forget(service.owner, thread_id)
    return answer_with(schemas.tell(thread_id, ()))


async def archive(api: Api, request: Request) -> Response:
    """Archive a thread."""
    service, thread_id = find_place(api, request)
    await service.archive(thread_id)
    return await _history(service, thread_id)


async def restore(api: Api, request: Request) -> Response:
    """Take a thread out of the archive."""
    service, thread_id = find_place(api, request)
    await service.archive(thread_id, archived=False)
    return await _history(service, thread_id)


async def delete(api: Api, request: Request) -> Response:
    """Remove a thread."""
    service, thread_id = find_place(api, request)
    await service.delete(thread_id)
    api.turns.forget(service.owner, thread_id)
    return Response(status_code=204)


async def _history(service: ChatService, thread_id: str) -> Response:
    return answer_with(schemas.tell(thread_id, await service.turns(thread_id)))
