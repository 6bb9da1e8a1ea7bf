"""What a turn can't be made of is refused before it begins, whichever door it came through."""

import math
from typing import Any

import pytest

from chatcli.errors import InvalidRequest, InvalidText
from chatcli.models import ModelOptions
from chatcli.service.requests import LONGEST_SEARCH, TurnRequest, check_search, thread_of_key
from chatcli.text import check_thread_id


def request(**wishes: Any) -> TurnRequest:
    """Return a request for a turn."""
    return TurnRequest(prompt="hello", max_length=10, **wishes)


@pytest.mark.parametrize(
    "wishes",
    [
        {"thread_id": "../x"},
        {"language": ""},
        {"language": "two\nlines"},
        {"language": "x" * 65},
        {"options": ModelOptions(temperature=math.nan)},
        {"options": ModelOptions(temperature=2.1)},
        {"options": ModelOptions(temperature=-0.1)},
        {"options": ModelOptions(max_tokens=0)},
        {"options": ModelOptions(max_tokens=2**31 + 1)},
        {"wait": math.nan},
        {"wait": -1.0},
        {"idempotency_key": ""},
        {"idempotency_key": "two words"},
        {"idempotency_key": "ä"},
        {"idempotency_key": "x" * 256},
        {"idempotency_key": "key", "save": False},
    ],
)
def test_what_makes_no_sense_is_refused(wishes: dict[str, Any]) -> None:
    """Languages, options, keys and ids that no provider or store could take."""
    with pytest.raises(InvalidRequest):
        request(**wishes).check()


@pytest.mark.parametrize("field", ["system", "title", "language"])
def test_texts_that_can_not_be_stored_are_refused(field: str) -> None:
    """With the place in the message, as everywhere."""
    with pytest.raises(InvalidText, match=f"the .*{field}.* holds a NUL at byte 1"):
        request(**{field: "a\0"}).check()


def test_everything_else_is_taken() -> None:
    """The bounds themselves are fine, and so is nothing at all."""
    request().check()
    request(
        language="x" * 64,
        options=ModelOptions(temperature=2.0, max_tokens=2**31),
        wait=0.0,
        idempotency_key="x" * 255,
    ).check()
    request(options=ModelOptions(temperature=0.0, max_tokens=1), save=False).check()


def test_searches() -> None:
    """Any words, and none, but no more than the head of a request can hold."""
    assert [check_search(text) for text in ("", "x" * LONGEST_SEARCH)] == ["", "x" * LONGEST_SEARCH]
    with pytest.raises(InvalidRequest):
        check_search("x" * (LONGEST_SEARCH + 1))


def test_the_thread_of_a_key_is_always_the_same() -> None:
    """Its id is one, and that of another key is another."""
    one, other = thread_of_key("one"), thread_of_key("other")
    assert check_thread_id(one) == thread_of_key("one") != check_thread_id(other)
