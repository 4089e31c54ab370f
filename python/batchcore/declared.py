"""Declared options: values checked against their types, in frozen mappings."""

from __future__ import annotations

import collections.abc
import datetime as dt
import functools
from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from types import MappingProxyType, NoneType, UnionType
from typing import (
    Any,
    Final,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from batchcore.errors import ConfigError

K = TypeVar("K")
V = TypeVar("V")

FINGERPRINT: Final = "fingerprint"
"""Options on which the rows of a run depend: the ledger compares them."""

CONFIGURATION: Final = "configuration"
"""Options that do not affect the rows of a run: the ledger records them."""

_WORDS: Final = MappingProxyType(
    {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "True or False",
        dt.date: "a datetime.date",
        dt.datetime: "a datetime.datetime",
        collections.abc.Mapping: "a table",
        collections.abc.Callable: "a function",
        NoneType: "None",
    }
)
"""The names of types in errors; others use their own name."""

_ALSO: Final = MappingProxyType({float: (float, int)})
"""Types also accepted for a type: a whole number is a number."""

_LESS: Final = MappingProxyType({int: bool, float: bool, dt.date: dt.datetime})
"""Types that Python counts as another, but that are not accepted."""


class FrozenDict(dict[K, V]):
    """A dictionary that cannot be changed: it has a hash, and can be copied and pickled."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} does not change")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


def option(
    default: V,
    text: str,
    *,
    metavar: str = "N",
    choices: tuple[str, ...] = (),
    has_opposite: bool = False,
    entry: str | None = None,
    ledger: str | None = None,
) -> V:
    """Return a field that is an option of commands too, whose help says ``text``.

    For a mapping, ``entry`` is the option that gives one entry as ``NAME=VALUE``. ``ledger`` is
    `FINGERPRINT`, `CONFIGURATION`, or None if the ledger does not record it.
    """
    metadata = {
        "help": text,
        "metavar": "|".join(choices) or metavar,
        "choices": choices,
        "has_opposite": has_opposite,
        "entry": entry,
        "ledger": ledger,
    }
    return field(default=default, metadata=metadata)


def check_types(options: Any, kind: Any, *, group: str = "", option: str | None = None) -> None:  # noqa: ANN401  # of a dataclass
    """Raise an error for a field of a dataclass whose value does not have the declared type.

    In errors ``group`` precedes the names of fields, which are parts of one ``option``, or options
    themselves without it.
    """
    for name, hint in _hints(kind).items():
        for found, value, expected in _wrong(name, getattr(options, name), hint):
            shown = found if option is None else f"`{group}{found}`"
            raise ConfigError(f"{shown} is {value!r}, expected {expected}", option or name)


def checked_date(date: object, option: str) -> dt.date:
    """Return a date; an instance of a derived class becomes a plain date."""
    if not isinstance(date, dt.date) or isinstance(date, dt.datetime):
        raise ConfigError(f"{option} is {date!r}, expected {_WORDS[dt.date]}", option)
    return dt.date(date.year, date.month, date.day)


def optional_date(date: object, option: str) -> dt.date | None:
    """Return `checked_date` of a date; None for None."""
    return None if date is None else checked_date(date, option)


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:  # noqa: ANN401  # a class
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def _wrong(name: str, value: object, hint: Any) -> Iterator[tuple[str, object, str]]:  # noqa: ANN401  # a type
    """Yield name, value and expected type of wrong values; for a mapping, of its entries."""
    if not _is_of(value, hint):
        yield name, value, _words(hint)
    elif isinstance(value, collections.abc.Mapping):
        kinds = (one for one in (hint, *get_args(hint)) if _class(one) is collections.abc.Mapping)
        key_kind, kind = get_args(next(kinds))
        for key, entry in value.items():
            if not _is_of(key, key_kind):
                yield f"a key of {name}", key, _words(key_kind)
            yield from _wrong(f"{name}.{key}", entry, kind)


def _is_of(value: Any, hint: Any) -> bool:  # noqa: ANN401  # a type
    kind = _class(hint)
    if hint is Any:
        return True
    if kind is None:
        return any(_is_of(value, one) for one in get_args(hint))
    if kind is tuple:
        kinds = get_args(hint)
        if kinds[1:] == (...,):
            kinds = kinds[:1] * len(value) if isinstance(value, tuple) else ()
        return (
            isinstance(value, tuple) and len(value) == len(kinds) and all(map(_is_of, value, kinds))
        )
    return isinstance(value, _ALSO.get(kind, kind)) and not isinstance(value, _LESS.get(kind, ()))


def _class(hint: Any) -> Any:  # noqa: ANN401  # a type
    """Return the class of a type; a union has none, and choices are checked elsewhere."""
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        return None
    return str if origin is Literal else (origin or hint)


def _words(hint: Any) -> str:  # noqa: ANN401  # a type
    kind = _class(hint)
    if kind is None:
        return " or ".join(map(_words, get_args(hint)))
    return _WORDS.get(kind, f"a {kind.__name__}")
