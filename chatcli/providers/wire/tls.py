"""The TLS context of the process."""

import ssl
from functools import cache

from chatcli.errors import ConfigError


@cache
def open_context(ca_file: str | None, ca_directory: str | None) -> ssl.SSLContext:
    """Return the one TLS context: a server's certificate and name are checked.

    It trusts what ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` name, or else the system's own certificates:
    from their directory where there is one, for a bundle is parsed whole for the one that is needed.

    Raises:
        ConfigError: the named certificates can't be read.
    """
    if ca_file or ca_directory:
        name = "SSL_CERT_FILE" if ca_file else "SSL_CERT_DIR"
        try:
            context = ssl.create_default_context(cafile=ca_file, capath=None if ca_file else ca_directory)
        except OSError:
            context = None
        if context is None:
            raise ConfigError(f"the certificates that {name} names can't be read")
    elif directory := _hashed_directory():
        context = ssl.create_default_context(capath=directory)
    else:
        # Systems without one are all different; the client of the other engines knows them.
        import httpx2

        context = httpx2.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _hashed_directory() -> str | None:
    import re
    import sys
    from pathlib import Path

    directory = Path(ssl.get_default_verify_paths().openssl_capath)
    if sys.platform in {"darwin", "win32"} or not directory.is_dir():
        return None
    is_hashed = re.compile(r"[0-9a-f]{8}\.[0-9]+").fullmatch
    return str(directory) if any(is_hashed(file.name) for file in directory.iterdir()) else None
