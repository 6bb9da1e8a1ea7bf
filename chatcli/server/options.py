"""What the command line says about serving; plain values, so that workers can be given them."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 30.0
STALL_SECONDS = 30.0
RECEIVE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where to listen, whom to talk to, and how patient to be."""

    host: str = "127.0.0.1"
    port: int = 8000
    uds: Path | None = None
    workers: int = 1
    allow_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed."""
    insecure_no_auth: bool = False
    http: str = "auto"
    grace: float = GRACE_SECONDS
    """Seconds that running turns get after SIGTERM."""
    stall: float = STALL_SECONDS
    """Seconds after which a reader that takes nothing is dropped."""
    receive: float = RECEIVE_SECONDS
    """Seconds that the head, and then the body, of a request may take to arrive."""
    max_body: int = 1
    """Mebibytes that a body may have which holds pictures, or whole threads."""
    log_messages: bool = False
    """Whether prompts and answers are logged, too, where the level is DEBUG."""
    store: str | None = None
    env_file: Path | None = None
    model: str | None = None
    metrics_dir: Path | None = None
    """Where several workers keep their counters."""

    @property
    def max_body_bytes(self) -> int:
        """Bytes that a body may have which holds pictures, or whole threads."""
        return self.max_body * 1024 * 1024

    @property
    def is_public(self) -> bool:
        """Whether others than this machine could connect."""
        if self.uds is not None or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a request may give as its Host, in lower case and without a port."""
        own = {"localhost", "127.0.0.1", "::1", self.host.lower()} - {"0.0.0.0", "::", ""}  # noqa: S104
        return frozenset(own | {name.lower().strip("[]") for name in self.allow_hosts})
