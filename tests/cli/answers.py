"""Answers as models give them, for tests of how they are shown."""

_CODE = '''```python
def step_{n}(items: list[int], *, limit: int = {n}0) -> list[int]:
    """Return the first items of step {n}, smallest first."""
    chosen = sorted(item for item in items if item < limit)
    return chosen[:limit]  # never more


print(step_{n}([3, 1, 2]))
```
'''
_TABLE = """| Name | Runs | Mean of {n} | Where |
|---|--:|--:|---|
| alpha{n} | 100 | 1.5 | https://example.com/results/{n}/alpha |
| beta{n} | 250 | 0.75 | https://example.com/results/{n}/beta |
| 漢字{n} | 5 | 12.25 | https://example.com/results/{n}/kanji |
"""
_PROSE = (
    "Paragraph {n} says that **nothing is lost** and that `nothing_{n}` is shown twice, however the text "
    "arrives. It goes on for *some* lines, names [its source](https://example.com/source/{n}) in full, and "
    "ends with words that wrap: naïve café, Größe, 日本語, and so on until the line is full again."
)
_LIST = """1. First of {n}, with a **bold** word
2. Second of {n}, long enough to be wrapped at eighty columns, as a thing to do in several steps
   - nested under {n}
   - nested again under {n}
3. Third of {n}
"""


def long_answer(sections: int = 7) -> str:
    """Return prose, lists, code and tables, about 1 KB a section; every line is there once."""
    parts = []
    for n in range(sections):
        parts += [f"## Section {n}", _PROSE.format(n=n), _LIST.format(n=n), _CODE.replace("{n}", str(n))]
        parts += [_TABLE.format(n=n), f"> A quotation for section {n},\n> on two lines.", "---"]
    return "\n\n".join(part.strip("\n") for part in [*parts, "The very **end."]) + "**"
