"""A thread as one HTML page: all text escaped, no script, nothing loaded from anywhere."""

import re
from collections.abc import Iterator, Sequence
from html import escape

from chatcli.cli.render import headline
from chatcli.cli.terminal import visible, visible_line
from chatcli.models import Message, Part, Thread, Turn

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
header p, h2 { color: GrayText; font-size: .8rem; font-weight: normal; margin: 0; }
article { border-left: 3px solid GrayText; margin: 1.5rem 0; padding-left: 1rem; }
article.ai { border-color: #3a7bd5; }
pre { font: inherit; margin: .25rem 0; overflow-wrap: anywhere; white-space: pre-wrap; }
img { max-width: 100%; }
"""
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]*={0,2}")
_NOTHING_LOADED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page_of(thread: Thread, turns: Sequence[Turn]) -> Iterator[str]:
    """Yield the page piece by piece; control and bidi characters in it are visible marks."""
    title = escape(visible_line(thread.title) or thread.id)
    yield (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_NOTHING_LOADED}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{title}</h1>\n<p>{escape(thread.id)}</p>\n</header>\n"
    )
    for turn in turns:
        for message in turn.messages:
            yield f'<article class="{escape(message.role.value)}">\n{_heading(turn, message)}'
            yield from _content(message)
            yield "</article>\n"
        if not turn.answer:
            yield f'<article class="ai">\n{_heading(turn, None)}</article>\n'
    yield "</body>\n</html>\n"


def _heading(turn: Turn, message: Message | None) -> str:
    return f"<h2>{escape(visible_line(headline(turn, message)))}</h2>\n"


def _content(message: Message) -> Iterator[str]:
    if isinstance(message.content, str):
        yield _text(message.content)
        return
    for part in message.content:
        yield _text(str(part["text"])) if part.get("type") == "text" else _image(part)


def _text(text: str) -> str:
    # A line end right behind the tag would be dropped.
    return f'<pre dir="auto">\n{escape(visible(text))}</pre>\n'


def _image(part: Part) -> str:
    place = part.get("image_url")
    url = place.get("url") if isinstance(place, dict) else None
    if isinstance(url, str) and _IMAGE.fullmatch(url):
        return f'<img alt="image" src="{url}">\n'
    return _text("[image]")
