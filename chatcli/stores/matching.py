"""Which words a text has, whether and how well it matches a search, and where: the same for all stores."""

import unicodedata
from collections.abc import Iterable, Sequence

from chatcli.models import Message, Role

CANDIDATES = 500
"""Turns, the newest that match, among which a search looks for the best ones."""

FOLDING = 1
"""Raised when `fold` changes; what was folded by another version of it, or of Unicode, does not count."""

_USUAL_LENGTH = 200
_SATURATION = 1.2
_LENGTH_WEIGHT = 0.75

_SPACELESS = ((0x2E80, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
"""Ranges of Chinese and Japanese characters, written without spaces: each of their letters is a word."""


class _Folding(dict[int, str]):
    """Characters to what is compared of them, worked out when they are first met."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold_character(chr(code))
        return folded


_FOLDING = _Folding()


def _fold_character(character: str) -> str:
    """Return letters and digits without case and accents, nothing for an accent, a space for the rest."""
    kept = []
    for part in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold()):
        combining = unicodedata.combining(part)
        if combining == 1 or combining > 9:  # noqa: PLR2004 - up to 9: signs that are part of a letter
            continue
        kept.append(part if unicodedata.category(part)[0] in "LNM" else " ")
    folded = "".join(kept)
    if any(first <= ord(character) <= last for first, last in _SPACELESS):
        return f" {folded} "
    return folded


def folding_version() -> int:
    """Return a number that changes whenever `fold` may give something else."""
    major, minor, patch = (int(part) for part in unicodedata.unidata_version.split("."))
    return ((FOLDING * 1000 + major) * 100 + minor) * 100 + patch


def fold(text: str) -> str:
    """Return the words of `text` as they are compared, with white space between them."""
    return text.translate(_FOLDING)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a search, each once; the last also stands for longer words."""
    found = fold(text).split()
    return tuple(dict.fromkeys(found[:-1])) + tuple(found[-1:])


def searched_text(messages: Iterable[Message]) -> str:
    """Return what of a turn is searched: its prompt and its answer."""
    return "\n".join(message.text for message in messages if message.role in {Role.HUMAN, Role.AI})


def score(words: Sequence[str], text: str) -> float:
    """Return how well `text` matches, 0 where one of the words is missing.

    It is BM25 for a text of average length, without the rarity of words: those that are compared
    have all of them.
    """
    if not words:
        return 0.0
    found = fold(text).split()
    damping = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * len(found) / _USUAL_LENGTH)
    total = 0.0
    for word in words[:-1]:
        count = found.count(word)
        if not count:
            return 0.0
        total += count / (count + damping)
    count = sum(one.startswith(words[-1]) for one in found)
    return total + count / (count + damping) if count else 0.0


def best_line(words: Sequence[str], text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the first line of `text` that has most of the words, and where they stand in it."""
    best: tuple[str, tuple[tuple[int, int], ...]] = ("", ())
    most = 0
    for line in text.splitlines():
        found = set(fold(line).split())
        count = sum(word in found for word in words[:-1])
        count += any(word.startswith(words[-1]) for word in found)
        if count > most:
            most, best = count, (line, _marks(words, line))
    return best


def _marks(words: Sequence[str], line: str) -> tuple[tuple[int, int], ...]:
    """Return the places of `words` in `line`, as (start, end) in characters of `line`."""
    marks: list[tuple[int, int]] = []
    word, start, end = "", 0, 0
    for place, character in enumerate(f"{line} "):
        for part in _FOLDING[ord(character)] or "\0":
            if part == " ":
                if word and (word in words or word.startswith(words[-1])):
                    marks.append((start, end))
                word = ""
            elif part == "\0":  # an accent: it belongs to the letter before it
                end = place + 1 if word else end
            else:
                start = start if word else place
                word, end = word + part, place + 1
    return tuple(marks)
