"""The half of the store that keeps LangGraph's checkpoints.

Those of a conversation are in its object. Threads that are none, those of any other graph, have an
object of their own at ``chat_checkpoints/{id}.json``; what is there is found for conversations too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from chatcli.errors import InvalidRequest, ThreadNotFound
from chatcli.stores.base import CheckpointKey, CheckpointRow, Keep, PendingWrite
from chatcli.stores.s3.auditing import S3Audit
from chatcli.stores.s3.bucket import Stored
from chatcli.stores.s3.document import Document, document_of
from chatcli.stores.s3.listing import READERS
from chatcli.stores.s3.location import Place, id_of
from chatcli.stores.s3.turns import Moment
from chatcli.stores.shelf import Shelf

_FOLDERS = ("chat_histories", "chat_checkpoints")


class S3Checkpoints(S3Audit):
    """The checkpoint methods of `S3Store`."""

    async def put_checkpoint(self, row: CheckpointRow, *, keep: Keep = "all") -> None:
        def put(document: Document, _: Moment) -> None:
            document.shelf.put(row, keep=keep)
            document.changed = True

        await self._change_shelf(row.key.owner, row.key.thread_id, put)

    async def get_checkpoint(self, key: CheckpointKey) -> CheckpointRow | None:
        rows = [shelf.read((key.namespace, key.checkpoint_id)) for shelf in await self._shelves(key)]
        return max(
            (row for row in rows if row is not None), key=lambda row: row.key.checkpoint_id, default=None
        )

    async def list_checkpoints(
        self,
        owner: str,
        thread_id: str | None,
        namespace: str | None,
        *,
        before: str | None = None,
        limit: int | None = None,
    ) -> tuple[CheckpointRow, ...]:
        rows: list[CheckpointRow] = []
        async for shelf in self._all_shelves(owner, thread_id):
            for place in shelf.rows:
                if namespace in (None, place[0]) and (before is None or place[1] < before):
                    row = shelf.read(place)
                    rows += [] if row is None else [row]
            rows.sort(key=lambda row: (row.key.checkpoint_id, row.key.thread_id), reverse=True)
            del rows[len(rows) if limit is None else limit :]
        return tuple(rows)

    async def put_writes(self, key: CheckpointKey, writes: Sequence[PendingWrite], *, replace: bool) -> None:
        def put(document: Document, _: Moment) -> None:
            document.shelf.put_writes((key.namespace, key.checkpoint_id), writes, replace=replace)
            document.changed = True

        await self._change_shelf(key.owner, key.thread_id, put)

    async def copy_checkpoints(self, owner: str, source_id: str, target_id: str) -> None:
        shelves = [] if source_id == target_id else await self._shelves(CheckpointKey(owner, source_id))
        if not any(shelves):
            return

        def adopt(document: Document, _: Moment) -> None:
            for shelf in shelves:
                document.shelf.adopt(shelf, target_id)
            document.changed = True

        await self._change_shelf(owner, target_id, adopt)

    async def delete_checkpoints(
        self, owner: str, thread_id: str, checkpoint_ids: Sequence[tuple[str, str]] | None = None
    ) -> None:
        def remove(document: Document, _: Moment) -> None:
            if document.shelf and checkpoint_ids is None:
                document.shelf = Shelf()
                document.changed = True
            elif places := {*document.shelf.rows, *document.shelf.writes}.intersection(checkpoint_ids or ()):
                document.shelf.remove(places)
                document.changed = True

        for place in self._places(owner, thread_id):
            await self._objects.change(place, remove)

    def _places(self, owner: str, thread_id: str) -> tuple[Place, Place]:
        return self._objects.thread(owner, thread_id), self._objects.checkpoints(owner, thread_id)

    async def _shelves(self, key: CheckpointKey) -> list[Shelf]:
        try:
            places = self._places(key.owner, key.thread_id)
        except InvalidRequest:  # what can't be an id is no thread's
            return []
        return [(await self._objects.read(place)).shelf for place in places]

    async def _change_shelf(
        self, owner: str, thread_id: str, work: Callable[[Document, Moment], None]
    ) -> None:
        """Change the checkpoints of a thread where they are, or are to be."""

        def only_of_a_thread(document: Document, moment: Moment) -> None:
            document.found()
            work(document, moment)

        thread, own = self._places(owner, thread_id)
        try:
            await self._objects.change(thread, only_of_a_thread)
        except ThreadNotFound:
            await self._objects.change(own, work)

    async def _all_shelves(self, owner: str, thread_id: str | None) -> AsyncIterator[Shelf]:
        """Yield the checkpoints of one thread, or of all that the owner has."""
        if thread_id is not None:
            for shelf in await self._shelves(CheckpointKey(owner, thread_id)):
                yield shelf
            return
        bucket = self._objects.bucket
        for kind in _FOLDERS:
            folder = bucket.location.folder(kind, owner)
            async for page in bucket.pages(folder):
                keys = [(item.key, id_) for item in page if (id_ := id_of(item.key, folder)) is not None]
                for start in range(0, len(keys), READERS):
                    batch = keys[start : start + READERS]
                    stored = await asyncio.gather(*(bucket.get(key) for key, _ in batch))
                    for (key, id_), one in zip(batch, stored, strict=True):
                        if isinstance(one, Stored):
                            yield document_of(one, key, owner, id_).shelf
