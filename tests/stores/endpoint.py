"""Where the S3 server of the tests is: moto's, which looks at no signature, or any other one.

    AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… uv run pytest tests/stores -k s3 --s3-endpoint URL

`radosgw.sh` runs one. What the tests ask that server is signed anew on its way, with the keys of the
environment: the stores themselves know the tests' own keys only, and talk to a proxy.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

import pytest

KEY_ID, SECRET = "AKIACANARYCANARY", "canary-secret-canary"
_UNSIGNED = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request"
"""Enough for a server that looks at no signature."""
_REPLACED = frozenset(
    {"authorization", "connection", "date", "expect", "host", "x-amz-content-sha256", "x-amz-date"}
)


@dataclass(frozen=True)
class Keys:
    """What requests are signed with; a `secret` is not shown."""

    key_id: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Keys({self.key_id!r})"


@dataclass(frozen=True)
class Endpoint:
    """The address of a server; without `keys` it looks at no signature."""

    host: str
    port: int
    tls: bool = False
    keys: Keys | None = None
    region: str = "us-east-1"

    @classmethod
    def of(cls, url: str) -> "Endpoint":
        """Return a server that exists already; the keys are those of the environment."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        if parts.hostname is None or parts.scheme not in ("http", "https"):
            pytest.fail("--s3-endpoint takes http://HOST:PORT or https://HOST:PORT")
        try:
            keys = Keys(
                os.environ["AWS_ACCESS_KEY_ID"],
                os.environ["AWS_SECRET_ACCESS_KEY"],
                os.environ.get("AWS_SESSION_TOKEN"),
            )
        except KeyError as missing:
            pytest.fail(f"--s3-endpoint needs {missing.args[0]} in the environment")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, keys, region)

    @property
    def is_moto(self) -> bool:
        """Whether it is the server that the tests run themselves."""
        return self.keys is None

    def connect(self) -> HTTPConnection:
        """Return a connection for one request."""
        return (HTTPSConnection if self.tls else HTTPConnection)(self.host, self.port, timeout=30)

    def signed(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the headers, in lower case, with which the server takes a request."""
        if self.keys is None:
            return {"authorization": _UNSIGNED, **headers}
        from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
        from botocore.credentials import Credentials  # type: ignore[import-untyped]

        url = f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{target}"
        kept = {name: text for name, text in headers.items() if name.lower() not in _REPLACED}
        request = AWSRequest(method, url, headers=kept, data=body)
        credentials = Credentials(self.keys.key_id, self.keys.secret, self.keys.token)
        S3SigV4Auth(credentials, "s3", self.region).add_auth(request)
        host = self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"
        return {"host": host, **{name.lower(): text for name, text in request.headers.items()}}
