"""Forks, and undo: a fork that keeps all turns, and a thread that loses its last ones."""

from contextlib import suppress
from datetime import datetime

from chatcli.errors import ChatcliError, ThreadBusy
from chatcli.models import Thread
from chatcli.stores.s3 import threads
from chatcli.stores.s3.document import Document
from chatcli.stores.s3.location import Place
from chatcli.stores.s3.objects import Objects
from chatcli.stores.s3.turns import Moment
from chatcli.stores.s3.writes import Write
from chatcli.text import is_generated_id


async def fork(objects: Objects, source: Document, fork_id: str, *, title: str, turns: int) -> Thread:
    """Write a thread with the first turns of a document."""
    return await objects.change(
        objects.thread(source.owner, fork_id),
        lambda document, moment: threads.fork_into(document, source, moment, title=title, turns=turns),
        is_new=is_generated_id(fork_id),
        write=Write(),
    )


async def undo(objects: Objects, place: Place, fork_id: str, *, title: str, turns: int) -> Thread:
    """Write a fork with all turns, then cut the last ones off the thread.

    The fork goes again if it is certain that nothing was cut, and won't be.
    """
    source = await objects.read(place)
    threads.check_undo(source, objects.moment(), turns)
    kept = await fork(objects, source, fork_id, title=title, turns=len(source.entries))

    def cut(document: Document, moment: Moment) -> None:
        if document.etag != source.etag:
            raise ThreadBusy(f"the thread {place.id} was used meanwhile", hint="try again", retry_after=1.0)
        threads.cut(document, moment, turns)

    write = Write()
    try:
        await objects.change(place, cut, write=write)
    except ChatcliError as error:
        if write.doubtful:
            error.hint = f"look at the thread first: if turns are missing, {fork_id} has all of them"
        else:
            await _take_back(objects, kept)
        raise
    return kept


async def _take_back(objects: Objects, kept: Thread) -> None:
    """Delete a fork, unless somebody went on with it or the server does not let us: nothing is lost then."""

    def condemn(document: Document, moment: Moment) -> datetime:
        if document.found() != kept:
            raise ThreadBusy(f"the thread {kept.id} was used meanwhile")
        return threads.condemn(document, moment)

    with suppress(ChatcliError):
        await objects.delete(objects.thread(kept.owner, kept.id), condemn)
