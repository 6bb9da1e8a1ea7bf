"""The message of one `chat` command: words, piped data and files, put together without loss."""

import os
import re
import select
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from chatcli.errors import InvalidRequest, InvalidText, TooLong
from chatcli.models import Content, Part
from chatcli.text import REPLACEMENT, decode

SILENCE_SECONDS = 2.0
"""How long an open but silent standard input is waited for before we say so."""

MAX_IMAGE_BYTES = 20 * 1024 * 1024
_CHUNK = 1024 * 1024
_UTF8_MAX = 4

_IMAGE_SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)


def gather(
    words: Sequence[str],
    files: Sequence[Path],
    *,
    use_stdin: bool,
    limit: int,
    on_silence: Callable[[], None],
) -> Content:
    """Return the message of a command line: its words, what is piped in, and its files."""
    wanted = "-" in words
    words = [word for word in words if word != "-"]
    descriptor = piped_stdin(wanted=wanted) if use_stdin else None
    data = None
    if descriptor is not None:
        data = read_data(descriptor, limit=limit, on_silence=on_silence if words or files else lambda: None)
    return compose(words, data, files, limit=limit)


def piped_stdin(*, wanted: bool) -> int | None:
    """Return the descriptor of standard input if there may be data in it; None for a terminal or none.

    With `wanted` (an explicit ``-``) a terminal is read, too.
    """
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return None
    if stat.S_ISCHR(mode) and os.isatty(0) and not wanted:
        return None
    return 0


def read_data(descriptor: int, *, limit: int, on_silence: Callable[[], None]) -> str:
    """Return everything that comes from `descriptor`, however slowly, as text.

    `on_silence` is called once if nothing came within two seconds. More than `limit` characters
    raise `TooLong` without being read to the end.
    """
    if not select.select([descriptor], [], [], SILENCE_SECONDS)[0]:
        on_silence()
    chunks: list[bytes] = []
    size = 0
    while chunk := os.read(descriptor, _CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if b"\0" in chunk or size > limit * _UTF8_MAX:
            break
    data = b"".join(chunks)
    if size > limit * _UTF8_MAX and b"\0" not in data:
        raise TooLong(
            f"standard input has more than the {limit} characters allowed",
            hint="shorten it, or raise MAX_INPUT_LENGTH",
        )
    return decode(data, source="standard input")


def fence(data: str, *, name: str | None = None) -> str:
    """Return `data` unchanged in a fenced block whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", data)), default=0)
    marks = "`" * max(3, longest + 1)
    title = "" if name is None else f"{name}:\n"
    return f"{title}{marks}\n{data}{'' if data.endswith(chr(10)) or not data else chr(10)}{marks}"


def compose(words: Sequence[str], data: str | None, files: Sequence[Path], *, limit: int) -> Content:
    """Return the content of the message: the prompt, then the data, then each file.

    With words and data the message is the words, an empty line, and the data in a fenced block;
    data alone is the message as it is. Images become parts of their own, in order.

    Raises:
        InvalidRequest: there is nothing to send, or a file can't be read.
        InvalidText: a file is neither text nor an image.
        TooLong: a file is larger than a message may be.
    """
    prompt = " ".join(words)
    if not prompt.strip() and not (data or "").strip() and not files:
        raise InvalidRequest(
            "there is nothing to send",
            hint='give a prompt, as in: chatcli chat "why is the sky blue", or pipe text in',
        )
    sections = [prompt] if prompt.strip() else []
    if data:
        sections.append(fence(data) if sections or files else data)
    images: list[Part] = []
    for file in files:
        content = _read_file(file, limit)
        if isinstance(content, str):
            sections.append(fence(content, name=_shown_name(file)))
        else:
            images.append(content)
    text = "\n\n".join(sections)
    if not images:
        return text
    return ({"type": "text", "text": text}, *images) if text else tuple(images)


def read_system(value: str) -> str:
    """Return the system prompt that ``--system`` means: the text, or with ``@`` that of a file."""
    if not value.startswith("@"):
        return value
    path = Path(value[1:])
    return decode(_bytes_of(path, limit=_CHUNK), source=str(path))


def _read_file(path: Path, limit: int) -> str | Part:
    data = _bytes_of(path, limit=max(MAX_IMAGE_BYTES, limit * _UTF8_MAX))
    for signature, media_type in _IMAGE_SIGNATURES:
        if signature.match(data):
            return _image(path, data, media_type)
    try:
        text = decode(data, source=_shown_name(path))
    except InvalidText as error:
        error.hint = "files are sent as UTF-8 text or as PNG, JPEG, GIF or WebP images"
        raise
    if len(text) > limit:
        raise TooLong(f"{_shown_name(path)} has {len(text)} characters, more than the {limit} allowed")
    return text


def _image(path: Path, data: bytes, media_type: str) -> Part:
    import base64

    if len(data) > MAX_IMAGE_BYTES:
        raise TooLong(f"{_shown_name(path)} is larger than {MAX_IMAGE_BYTES // 1024 // 1024} MiB")
    url = f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _bytes_of(path: Path, *, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InvalidRequest(f"{_shown_name(path)} can't be read: {error.strerror}") from None
    if len(data) > limit:
        raise TooLong(f"{_shown_name(path)} is larger than {limit} bytes")
    return data


def _shown_name(path: Path) -> str:
    """Return the name of a file as it stands in a message: on one line, and in valid UTF-8."""
    name = os.fsencode(path).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else REPLACEMENT for character in name)
