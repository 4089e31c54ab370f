"""Every entry point of the compiled module: a panic in it is an `InternalError` with a line."""

import datetime as dt
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchcore import _core
from batchcore.errors import InputError, InternalError
from batchcore.native import Market
from support import bounded, build

SOURCES = Path(__file__).parents[2] / "rust" / "py" / "src"
MADE_BY_PYTHON = {"__doc__", "__module__"}


def bodies(source: str) -> Iterator[tuple[str, str]]:
    """Return the entry points of a file, and what the body of each begins with."""
    function = r"fn (\w+)(?:<[^>]*>)?\(.*?\)(?: -> [^{]*)? \{\n +"
    for block in re.finditer(
        r"^#\[pymethods\]\nimpl (\w+) \{\n(.*?)^\}", source, re.MULTILINE | re.DOTALL
    ):
        owner, text = block.groups()
        for found in re.finditer(rf"^    {function}(\S+ ?\S*)", text, re.MULTILINE | re.DOTALL):
            name, begin = found.groups()
            yield owner if name == "new" else f"{owner}.{name}", begin
    for found in re.finditer(
        rf"^#\[pyfunction\]\n.*?^pub\(crate\) {function}(\S+ ?\S*)",
        source,
        re.MULTILINE | re.DOTALL,
    ):
        name, begin = found.groups()
        yield name, begin


def entries() -> set[str]:
    """Return the entry points that Python finds in the module."""
    found = set()
    for name in _core.__all__:
        owner = getattr(_core, name)
        if isinstance(owner, type):
            own = set(vars(owner)) - MADE_BY_PYTHON
            found |= {name if member == "__new__" else f"{name}.{member}" for member in own}
        elif callable(owner):
            found.add(name)
    return found


def test_every_entry_point_goes_through_the_guard() -> None:
    guarded = {}
    for path in SOURCES.glob("*.rs"):
        guarded |= dict(bodies(path.read_text()))
    assert set(guarded) == entries()
    assert {name: begin for name, begin in guarded.items() if begin != f'guard("{name}", ||'} == {}


# The name of a class that PyO3 makes for each module when that first takes an exception of
# Python's. What Python code raises as the one of a module goes on as a panic in that module.
PANIC = "PanicException"


class Frame:
    """A frame whose columns raise what is given, or panic."""

    def __init__(self, kind: type[BaseException] | None = None) -> None:
        self.__dict__["kind"] = kind

    def __getattr__(self, name: str) -> Any:
        raise (self.__dict__["kind"] or panic_kind())("made up")


@cache
def panic_kind() -> type[BaseException]:
    """Return the class of this module; others compiled with PyO3 have theirs."""
    with pytest.raises(InputError):
        _core.PriceStore.from_frame(object())
    for kind in BaseException.__subclasses__():
        if kind.__name__ == PANIC:
            try:
                _core.PriceStore.from_frame(Frame(kind))
            except InternalError:
                return kind
            except InputError:
                continue
    pytest.fail("no class makes the module panic")


def panic() -> BaseException:
    return panic_kind()("made up")


class Days(dict[Any, int]):
    """Days that panic."""

    def __missing__(self, date: Any) -> int:
        raise panic()


class Number:
    """An integer that panics."""

    def __index__(self) -> int:
        raise panic()


class Keys(np.ndarray[Any, Any]):
    """Uuids that panic."""

    def reshape(self, *_: Any, **__: Any) -> Any:
        raise panic()


def calls() -> dict[str, Callable[[], object]]:
    prices = _core.PriceStore.from_frame(build.prices([("A", 1, Decimal(1))]))
    sessions = np.array([1], dtype=np.int32)
    marks = _core.Marks.from_prices(prices, sessions=sessions, lookback_days=1)
    reader, date = (
        _core.PriceReader(prices, Days(), _core.ThreadGuard("reader")),
        dt.date(2026, 1, 5),
    )
    keys = np.zeros((1, 16), dtype=np.uint8)
    frames = {"book": Frame(), "opening": Frame(), "market": Market(sessions, prices, marks)}
    return {
        "Decoder": lambda: _core.Decoder([("a", "text", Number())]),
        "Marks.coverage": lambda: marks.coverage(Frame()),
        "Marks.fresh_closes": lambda: marks.fresh_closes(Frame(), np.array([1], dtype=np.int32)),
        "PriceReader.get": lambda: reader.get("A", date),
        "PriceReader.get_array": lambda: reader.get_array(["A"], date),
        "PriceReader.get_batch": lambda: reader.get_batch(["A"], date),
        "PriceReader.get_with_lookback": lambda: reader.get_with_lookback("A", date, 1),
        "PriceReader.price": lambda: reader.price("A", date),
        "PriceStore.from_frame": lambda: _core.PriceStore.from_frame(Frame()),
        "encode": lambda: _core.encode(
            fields=[("a", "uuid", (keys.view(Keys),), None)], rows=1, piece_bytes=1
        ),
        "hold": lambda: _core.hold(**frames, sessions=sessions, threads=1),
        "locate": lambda: _core.locate(keys=keys.view(Keys), ids=keys),
        "run": lambda: _core.run(rules="rollforward", **frames, previous=Frame(), threads=1),
        "value_positions": lambda: _core.value_positions(**frames, session=1, threads=1),
    }


@pytest.mark.parametrize("entry", sorted(calls()))
def test_a_panic_is_an_internal_error_with_a_line_to_report(
    entry: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InternalError) as caught:
        calls()[entry]()
    where = f"a defect of batchcore {_core.__version__} in `{entry}`"
    assert str(caught.value) == f"{where}: made up; please report this line"
    assert PANIC in capfd.readouterr().err


class Endless:
    """Symbols that are said to be more than any memory holds."""

    def __len__(self) -> int:
        return 2**62

    def __iter__(self) -> Iterator[str]:
        return iter(["A", "B"])


def test_no_memory_is_taken_for_symbols_before_they_come() -> None:
    prices = _core.PriceStore.from_frame(build.prices([("A", 1, Decimal(1))]))
    reader = _core.PriceReader(prices, {1: 1}, _core.ThreadGuard("reader"))
    values, states, scale = reader.get_array(Endless(), 1)
    assert (values.tolist(), states.tolist(), scale) == ([10_000, 0], [0, 1], 4)


def test_a_list_of_columns_is_no_other_sequence() -> None:
    with pytest.raises(TypeError):
        _core.Decoder(Endless())
    with pytest.raises(TypeError):
        _core.encode(fields=Endless(), rows=1, piece_bytes=1)


def test_where_no_thread_starts_the_caller_does_all_of_the_work() -> None:
    # a stack of 2^46 bytes cannot be mapped, so no thread can be made
    said = bounded.run(
        """
from decimal import Decimal
from support.worked import PRICES, jan, portfolio, position
portfolios = [portfolio(position(), name=str(number)) for number in range(200)]
inputs = build.inputs(portfolios, PRICES, [jan(5)])
sessions = build.session_days([jan(5)])
print(len(batchcore.compute(inputs, sessions, threads=8)))
""",
        RUST_MIN_STACK=str(1 << 46),
    )
    assert said == "200\n"
