"""One of the last used threads, found with few requests however many threads there are."""

import heapq
from operator import attrgetter

from chatcli.models import Thread
from chatcli.stores.s3.bucket import BATCH, Bucket
from chatcli.stores.s3.listing import Candidate, Listing
from chatcli.stores.s3.recent import Recent

_FEW = 4
"""Objects that may have been written within the same second."""


async def sample(bucket: Bucket, listing: Listing, recent: Recent, owner: str) -> Thread | None:
    """Return the last used thread; where there are more than one request lists, the last one noted."""
    candidates: list[Candidate] = []
    async for candidate in listing.candidates(owner, archived=None):
        candidates.append(candidate)
        if len(candidates) == BATCH:
            break
    newest = heapq.nlargest(_FEW, candidates, key=attrgetter("modified"))
    if len(candidates) == BATCH:
        await recent.load(owner)
        if (noted := recent.newest(owner)) is not None:
            newest.append(Candidate(noted, bucket.location.thread(owner, noted), "", 0))
    found = [summary for summary in await listing.summaries(owner, newest) if summary is not None]
    there = [summary for summary in found if summary.thread is not None and not summary.damaged]
    return max(there, key=attrgetter("used")).thread if there else None
