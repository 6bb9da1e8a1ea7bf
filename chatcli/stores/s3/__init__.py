"""The store on S3 and servers that speak it: one JSON object a thread, every write on a condition.

A turn on a thread whose object is held takes two PUT requests and no other. What lies in a bucket:

* ``chat_histories/{id}.json``: a thread (of a named owner: ``chat_histories/{owner}/{id}.json``, and
  so with all the others), described in `document`; its user metadata says what lists show (`summary`);
* ``chat_archived/{id}~…``: an empty object that marks a thread as archived, for lists (`marks`);
* ``chat_idle/{id}~…``: an empty object that tells when a thread was used last whose object was written
  later, for cleanups (`marks`);
* ``chat_recent/index.json``: which threads were used last, for lists (`recent`);
* ``chat_names/{id in lower case}``: the one spelling of an id that somebody chose (`names`);
* ``chat_audit/{id}.json``: an entry of the audit (`auditing`);
* ``chat_checkpoints/{id}.json``: checkpoints of LangGraph that are of no conversation (`checkpoints`);
* ``chat_proof``: an empty object on which the server shows that it honours conditions (`bucket`).
"""

from chatcli.stores.s3.location import Location, location_of
from chatcli.stores.s3.store import S3Store

__all__ = ["Location", "S3Store", "location_of"]
