"""What the environment says about the network to every program: proxies and certificates."""

import sys
from collections.abc import Mapping

from chatcli.frozen import Frozen

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class Network(Frozen):
    """What the usual variables hold; they are the environment's alone, as other programs read them."""

    proxies: frozenset[str]
    """Which of `http_proxy`, `https_proxy` and `all_proxy` are set; their values may hold passwords."""
    no_proxy: tuple[str, ...]
    ca_file: str | None
    ca_directory: str | None

    def may_use_proxy(self, scheme: str, host: str) -> bool:
        """Whether a request may have to go through a proxy; false only where it certainly goes straight.

        Entries of NO_PROXY that are more than a name or an address are left to the HTTP client.
        """
        if not {f"{scheme}_proxy", "all_proxy"} & (self.proxies or _system_proxies()):
            return False
        host = host.lower()
        return not any(
            entry in {"*", host} or (entry and host.endswith(f".{entry.removeprefix('.')}"))
            for entry in self.no_proxy
        )


def read_network(variables: Mapping[str, str]) -> Network:
    """Return what `variables` say."""
    lower = {name.lower() for name, value in variables.items() if value}
    entries = variables.get("no_proxy", variables.get("NO_PROXY", "")).lower().split(",")
    return Network(
        proxies=frozenset(name for name in _PROXIES if name in lower),
        no_proxy=tuple(entry.strip() for entry in entries),
        ca_file=variables.get("SSL_CERT_FILE") or None,
        ca_directory=variables.get("SSL_CERT_DIR") or None,
    )


def _system_proxies() -> frozenset[str]:
    """Return the proxies that are set for the whole system, where systems have that."""
    if sys.platform in {"darwin", "win32"}:
        from urllib.request import getproxies

        return frozenset(f"{scheme}_proxy" for scheme in getproxies())
    return frozenset()
