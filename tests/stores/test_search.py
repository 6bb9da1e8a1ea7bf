"""Searching: all words in one turn, whatever their case and accents, best match first, with its line."""

import pytest

from chatcli.models import LOCAL_OWNER, Part
from chatcli.stores.base import ThreadStore
from chatcli.stores.matching import best_line, fold, score, words_of
from tests.stores.talk import answer, held, new_turn, say


async def found(
    store: ThreadStore, text: str, *, archived: bool | None = False, owner: str = LOCAL_OWNER
) -> set[str]:
    """Return the ids of the threads in which a search finds something."""
    return {hit.thread.id for hit in await store.search(owner, text, limit=99, archived=archived)}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sencha", {"green", "both"}),
        ("SENCHA", {"green", "both"}),
        ("sench", {"green", "both"}),
        ("sencha temperature", {"green"}),
        ("temperature sencha", {"green"}),
        ("sench temperature", set()),
        ("cafe", {"cafe"}),
        ("café", {"cafe"}),
        ("CAFE\u0301", {"cafe"}),
        ("strasse", {"cafe"}),
        ("straße", {"cafe"}),
        ("80", {"green"}),
        ("日本", {"both"}),
        ("sencha OR assam", set()),
        ("NOT sencha", set()),
        ('"sencha', {"green", "both"}),
        ("sencha*", {"green", "both"}),
        ("text:sencha", set()),
        ("(sencha)", {"green", "both"}),
        ("%", set()),
        ("", set()),
        ("--", set()),
        ("' OR 1=1", set()),
        ("{sencha}^2", set()),
    ],
)
async def test_words(store: ThreadStore, query: str, expected: set[str]) -> None:
    """All words must stand in a turn, the last at least as a beginning; nothing has a special meaning."""
    await say(store, "green", "Which temperature for Sencha?", "80 degrees.")
    await say(store, "cafe", "Where is the Café?", "In der Straße der Sonne.")
    await say(store, "both", "Tea from 日本?", "Sencha, for example.")
    await say(store, "both", "And the temperature?", "Ask the seller.")
    assert await found(store, query) == expected


async def test_line_and_marks(store: ThreadStore) -> None:
    """A hit names its best turn and shows the line that matches, with places in characters."""
    await say(store, "a", "Hello", "Nothing here")
    await say(store, "a", "First line\nThe 🫖 for Größe and größer\nLast line", "Grössen")
    (hit,) = await store.search(LOCAL_OWNER, "grosse", limit=5)
    assert (hit.thread.id, hit.turn_index) == ("a", 2)
    assert hit.thread == await store.thread(LOCAL_OWNER, "a")
    (hit,) = await store.search(LOCAL_OWNER, "Gross", limit=5)
    assert hit.line == "The 🫖 for Größe and größer"
    assert [hit.line[start:end] for start, end in hit.marks] == ["Größe", "größer"]


async def test_answer_and_prompt_count_together(store: ThreadStore) -> None:
    """Words may stand in the prompt and the answer of a turn; system prompts are not searched."""
    begun = await store.begin(new_turn("a", "Which river?", system="You are a geographer"))
    await store.commit(held(begun), answer("The Danube.", turn_id=begun.turn.id, index=2))
    assert await found(store, "river danube") == {"a"}
    assert await found(store, "geographer") == set()


async def test_best_match_first(store: ThreadStore) -> None:
    """A text that speaks of little else comes before one that only mentions the word, each thread once."""
    await say(store, "mention", "Plans for the week, the house, the garden and the dog", "Also buy tea.")
    await say(store, "subject", "Tea?", "Tea, tea and tea.")
    await say(store, "subject", "More?", "Of what? Tea again.")
    hits = await store.search(LOCAL_OWNER, "tea", limit=9)
    assert [(hit.thread.id, hit.turn_index) for hit in hits] == [("subject", 1), ("mention", 1)]
    assert [hit.thread.id for hit in await store.search(LOCAL_OWNER, "tea", limit=1)] == ["subject"]


async def test_equal_matches_are_in_order_of_use(store: ThreadStore) -> None:
    """Among equals the last used thread comes first."""
    for name in "abc":
        await say(store, name)
    await say(store, "a")
    hits = await store.search(LOCAL_OWNER, "hot", limit=9)
    assert [(hit.thread.id, hit.turn_index) for hit in hits] == [("a", 2), ("c", 1), ("b", 1)]


async def test_archived(store: ThreadStore) -> None:
    """Archived threads are found only where they are asked for."""
    await say(store, "a")
    await say(store, "b")
    await store.archive(LOCAL_OWNER, "a", archived=True)
    assert await found(store, "hot") == {"b"}
    assert await found(store, "hot", archived=True) == {"a"}
    assert await found(store, "hot", archived=None) == {"a", "b"}


async def test_owners(store: ThreadStore) -> None:
    """An owner finds nothing of another."""
    await say(store, "a", owner="eve")
    assert await found(store, "hot") == set()
    assert await found(store, "hot", owner="eve") == {"a"}


async def test_new_turns_are_found_at_once(store: ThreadStore) -> None:
    """What was said after a search is found by the next one; a turn is found by its prompt while it runs."""
    await say(store, "a", "one", "two")
    assert await found(store, "three") == set()
    begun = await store.begin(new_turn("a", "three"))
    assert await found(store, "three") == {"a"}
    assert await found(store, "three four") == set()
    await store.commit(held(begun), answer("four", turn_id=begun.turn.id))
    assert await found(store, "three four") == {"a"}
    assert await found(store, "one two") == {"a"}


@pytest.mark.parametrize("how", ["delete", "clear"])
async def test_what_is_removed_is_not_found(store: ThreadStore, how: str) -> None:
    """After delete or clear the words are gone, and those that come in their place are found."""
    await say(store, "a", "alpha", "beta")
    await say(store, "b", "gamma", "delta")
    assert await found(store, "delta") == {"b"}
    await (store.delete if how == "delete" else store.clear)(LOCAL_OWNER, "b")
    assert await found(store, "delta") == set()
    await say(store, "b", "epsilon", "zeta")
    await say(store, "c", "eta", "theta")
    assert await found(store, "delta") == set()
    assert await found(store, "zeta") == {"b"}
    assert await found(store, "theta") == {"c"}
    assert await found(store, "beta") == {"a"}


async def test_parts(store: ThreadStore) -> None:
    """Of a message in parts its text is searched, not its pictures."""
    picture: Part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,kettle"}}
    await say(store, "a", ({"type": "text", "text": "What is this?"}, picture), "A teapot.")
    assert await found(store, "this teapot") == {"a"}
    assert await found(store, "kettle") == set()


async def test_many_turns(store: ThreadStore) -> None:
    """Hits are at most `limit`, of many."""
    for number in range(30):
        await say(store, f"t{number:02}", f"word{number} common", "answer")
    assert len(await store.search(LOCAL_OWNER, "common", limit=20)) == 20
    assert await found(store, "word7") == {"t07"}
    assert await found(store, "word1") == {f"t{n:02}" for n in (1, *range(10, 20))}


def test_folding_keeps_letters_whole() -> None:
    """Accents go; signs that make another letter stay; what is no letter parts words."""
    assert fold("Žluťoučký kůň").split() == ["zlutoucky", "kun"]
    assert fold("ŒUVRE ﬁne İstanbul ΣΊΣΥΦΟΣ").split() == ["œuvre", "fine", "istanbul", "σισυφοσ"]
    assert fold("हिन्दी").split() == ["हिन्दी"]
    assert fold("don't stop—e-mail").split() == ["don", "t", "stop", "e", "mail"]
    assert fold("かがみ").split() != fold("かかみ").split()


def test_words_of_a_search() -> None:
    """The last word stays last, also where it came before."""
    assert words_of("tea for tea") == ("tea", "for", "tea")
    assert words_of("a b a c") == ("a", "b", "c")


@pytest.mark.parametrize("text", ["Tea\u0301 TEA x", "x\u2028tea", "\u0301tea", "ﬃ tea ﬃ", "tea\u0301"])
def test_marks_fit(text: str) -> None:
    """Marks are places of the line as it is, whatever becomes of its characters when they are compared."""
    line, marks = best_line(("tea",), text)
    assert marks
    assert all(fold(line[start:end]).split() == ["tea"] for start, end in marks)
    assert score(("tea",), text) > 0
