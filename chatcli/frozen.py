"""`Frozen`: values with named fields, as frozen dataclasses are, that cost next to nothing to declare.

For each class `dataclass` writes half a dozen methods and compiles them when the module is imported. A
short command imports thirty such classes, and spent a quarter of its time on that; these share theirs.
"""

from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

_set = object.__setattr__


@dataclass_transform(frozen_default=True)
class Frozen:
    """A base of values: the annotated attributes of a class are its fields, those without a default first.

    Two values are equal if they are of one class and all their fields are. A default stays in the
    class, and must be one that cannot change.
    """

    FIELDS: ClassVar[tuple[str, ...]] = ()
    """The fields in their order."""

    _known: ClassVar[frozenset[str]] = frozenset()

    _required: ClassVar[int] = 0
    """How many fields, from the first on, have no default."""

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        """Take in the fields of a class; `kw_only` is for type checkers."""
        cls.FIELDS = names = (*cls.FIELDS, *cls.__annotations__)
        cls._known = frozenset(names)
        has_default = [hasattr(cls, name) for name in names]
        cls._required = has_default.count(False)
        if any(has_default[: cls._required]):
            raise TypeError(f"{cls.__name__} has a field without a default after one that has one")

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self.FIELDS
        for name, value in zip(names, values):  # noqa: B905 - checked below, once for all cases
            _set(self, name, value)
        if named or not self._required <= len(values) <= len(names):
            self._take(named, len(values))

    def _take(self, named: dict[str, Any], filled: int) -> None:
        """Set the fields that came by name, after `filled` that came by position."""
        names = self.FIELDS
        if filled > len(names) or not (
            self._known >= named.keys() and named.keys().isdisjoint(names[:filled])
        ):
            raise TypeError(f"{type(self).__name__} was given a field that it has not, or one twice")
        for name, value in named.items():
            _set(self, name, value)
        for name in names[filled : self._required]:
            if name not in named:
                raise TypeError(f"{type(self).__name__} was not given {name}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} can't be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} can't be deleted")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    def __repr__(self) -> str:
        fields = (f"{name}={getattr(self, name)!r}" for name in self.FIELDS)
        return f"{type(self).__name__}({', '.join(fields)})"


Value = TypeVar("Value", bound=Frozen)


def replace(value: Value, /, **changes: Any) -> Value:
    """Return the same value with some fields changed."""
    values = [changes.pop(name, getattr(value, name)) for name in value.FIELDS]
    return type(value)(*values, **changes)


def _values(value: Frozen) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in value.FIELDS])
