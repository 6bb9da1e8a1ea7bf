"""`Frozen` keeps what frozen dataclasses promise."""

import copy
import pickle

import pytest

from chatcli.frozen import Frozen, replace


class Point(Frozen):
    """A value with and without defaults."""

    x: int
    y: int
    label: str = "origin"
    """Said of a field, as elsewhere."""
    weight: float | None = None


class Marked(Point):
    """A value that is a Point, with more to it."""

    mark: str = "!"


class Pair(Frozen):
    """A value of another class with the same fields as a Point without its defaults."""

    x: int
    y: int


def test_fields_are_given_by_position_or_by_name() -> None:
    """Defaults count where nothing is given, and each value is where it belongs."""
    for point in (Point(1, 2, weight=3.0), Point(1, y=2, weight=3.0), Point(weight=3.0, y=2, x=1)):
        assert (point.x, point.y, point.label, point.weight) == (1, 2, "origin", 3.0)


@pytest.mark.parametrize(
    ("values", "named", "wrong"),
    [
        ((1,), {}, "was not given y"),
        ((), {"label": "a"}, "was not given x"),
        ((1, 2, "a", None, 5), {}, "has not, or one twice"),
        ((1, 2), {"x": 3}, "has not, or one twice"),
        ((1, 2), {"z": 3}, "has not, or one twice"),
    ],
)
def test_wrong_fields_are_refused(values: tuple[object, ...], named: dict[str, object], wrong: str) -> None:
    """A field that is missing, unknown or given twice is a `TypeError`, as in any call."""
    with pytest.raises(TypeError, match=wrong):
        Point(*values, **named)  # type: ignore[arg-type]


def test_a_field_without_a_default_comes_first() -> None:
    """Else values given by position would not be where one reads them."""
    with pytest.raises(TypeError, match="without a default"):

        class _Wrong(Frozen):
            first: int = 1
            second: int  # type: ignore[misc]


def test_it_is_frozen() -> None:
    """Nothing can be set or deleted: no field, and nothing else."""
    point = Point(1, 2)
    for name in ("x", "label", "other"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(point, name, 5)
        with pytest.raises(AttributeError, match="frozen"):
            delattr(point, name)
    assert point == Point(1, 2)


def test_values_are_equal_by_class_and_fields() -> None:
    """Equal values have one hash; no tuple, and no value of another class, is equal to them."""
    assert Point(1, 2) == Point(1, 2, "origin", None)
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2
    assert Point(1, 2) != Point(1, 2, "corner")
    for other in ((1, 2), (1, 2, "origin", None), Pair(1, 2), Marked(1, 2)):
        assert Point(1, 2) != other


def test_a_subclass_has_the_fields_of_its_base() -> None:
    """They come first."""
    assert repr(Marked(1, 2)) == "Marked(x=1, y=2, label='origin', weight=None, mark='!')"


def test_replacing_leaves_the_rest() -> None:
    """What is not named stays, and what is no field is refused."""
    point = Point(1, 2, "corner", 0.5)
    assert replace(point, y=3) == Point(1, 3, "corner", 0.5)
    assert point.y == 2
    with pytest.raises(TypeError):
        replace(point, z=3)


def test_it_can_be_copied() -> None:
    """By `copy` and by `pickle`, as anything else."""
    point = Point(1, 2, "corner")
    assert copy.copy(point) == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point  # noqa: S301
