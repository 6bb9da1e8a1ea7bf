"""The command `rekey`: what is stored is encrypted with the key in use."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatcli.cli import options, output, runtime
from chatcli.cli.progress import progress
from chatcli.errors import ChatcliError, InvalidRequest

if TYPE_CHECKING:
    from chatcli.service import ChatService


def rekey(
    *,
    decrypt: Annotated[
        bool, typer.Option("--decrypt", help="Take all encryption off instead; the keys are still needed.")
    ] = False,
    store: options.Store = None,
    env_file: options.EnvFile = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Encrypt all that is stored with the first key of CHATCLI_ENCRYPTION_KEY.

    It encrypts what was stored before there was a key, and what another of the keys has encrypted.
    It may be broken off at any time and run again, and turns may run meanwhile. What was there is
    gone from the files of the store when it has ended.
    """
    output.require_stdout()
    settings = runtime.load(store=store, env_file=env_file)
    if settings.server is not None:
        raise InvalidRequest(
            "a store is encrypted where it is, not over a server",
            hint="run it there, or name the store: chatcli rekey --store URL",
        )
    rekeying = _Rekeying(decrypt=decrypt, json=json, quiet=quiet)
    runtime.run(rekeying.run, settings)
    if rekeying.code:
        raise typer.Exit(rekeying.code)


class _Rekeying:
    """One run, and its receipt."""

    def __init__(self, *, decrypt: bool, json: bool, quiet: bool) -> None:
        self._decrypt = decrypt
        self._json = json
        self._quiet = quiet
        self._scanned = self._changed = self._failed = 0
        self._started = time.monotonic()
        self.code = 0

    async def run(self, service: "ChatService") -> None:
        """Go through all threads; one that can't be read does not keep the others from being done."""
        from chatcli.service.rekeying import rekey as rekey_all

        try:
            with progress("encrypting", total=None, quiet=self._quiet) as show:
                async for done in rekey_all(service.store, decrypt=self._decrypt):
                    self._scanned += 1
                    self._changed += done.changed
                    if done.error is not None:
                        self._failed += 1
                        self.code = self.code or done.error.exit_code
                        output.say_problem(done.error, as_json=self._json, thread=done.thread_id)
                    show(self._scanned, f"{self._scanned} threads looked at, {self._changed} changed")
        except BaseException as error:
            interrupted = runtime.is_interrupt(error)
            if self._changed:
                with suppress(ChatcliError):  # what the run broke off at counts
                    await self._record(service, "interrupted" if interrupted else "failed")
            if interrupted:
                output.say(f"interrupted; {self._changed} threads were changed, the same command goes on")
            raise
        await self._record(service, "failed" if self._failed else "done")
        self._tell(service)

    async def _record(self, service: "ChatService", outcome: str) -> None:
        await service.record("decrypt" if self._decrypt else "rekey", count=self._changed, outcome=outcome)

    def _tell(self, service: "ChatService") -> None:
        from chatcli.service.rekeying import key_ids

        key = None if self._decrypt else key_ids(service.store)[0]
        seconds = time.monotonic() - self._started
        if self._json:
            receipt: dict[str, Any] = {"key": key, "scanned": self._scanned, "changed": self._changed}
            output.write_json({**receipt, "failed": self._failed, "seconds": round(seconds, 3)})
        elif not self._quiet:
            what = "decrypted" if key is None else f"encrypted with the key {key}"
            failed = f", {self._failed} failed" if self._failed else ""
            output.write(f"{self._scanned} scanned, {self._changed} {what}{failed}, {seconds:.1f} s\n")
