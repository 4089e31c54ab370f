"""Every exception: one family, with attributes, that pickles."""

import inspect
import pickle

import pytest

import batchcore
from batchcore import errors
from batchcore.errors import BatchcoreError

EXAMPLES = [
    (errors.ProcessDiedError("no", (1, 2), -9), {"shard": (1, 2), "status": -9}),
    (errors.ConfigError("no", "threads"), {"option": "threads"}),
    (errors.InputError("no", "prices.close"), {"column": "prices.close"}),
    (
        errors.DecodeError("no", "positions", "id", 7),
        {"query": "positions", "column": "id", "row": 7},
    ),
    (errors.NumericError("no", "close"), {"column": "close"}),
    (errors.SchemaError("no", ("a", "b")), {"problems": ("a", "b")}),
    (errors.DatabaseError("no", "40001"), {"sqlstate": "40001"}),
    (
        errors.CoverageError("no", "2026-01-05", 0.25, 0.5),
        {"session": "2026-01-05", "coverage": 0.25, "min_coverage": 0.5},
    ),
    (
        errors.SnapshotExistsError("no", "p", "2026-01-05"),
        {"portfolio": "p", "session": "2026-01-05"},
    ),
    (errors.LeaseHeldError("no", "r"), {"run_id": "r"}),
    (errors.ConcurrentUseError("no", "PriceCache"), {"cache": "PriceCache"}),
    (errors.TooManyFailedError("no", 3, 2), {"failed": 3, "allowed": 2}),
    (
        errors.RateMissingError("no", "EUR/USD", "2026-01-05"),
        {"rate": "EUR/USD", "session": "2026-01-05"},
    ),
    (errors.InternalError("no"), {}),
    (errors.CancelledError("no"), {}),
]


def classes() -> dict[str, type[BaseException]]:
    """Return the exceptions that the module defines."""
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: found for name, found in found if issubclass(found, BaseException)}


@pytest.mark.parametrize(("error", "attributes"), EXAMPLES, ids=lambda x: type(x).__name__)
def test_text_is_the_message_and_attributes_survive_pickling(
    error: BatchcoreError, attributes: dict[str, object]
) -> None:
    assert str(error) == "no"
    assert str(type(error)("enough")) == "enough"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # made in the line above
    assert type(again) is type(error)
    assert vars(again) == vars(error) == attributes
    assert str(again) == "no"


def test_text_without_any_argument_is_empty() -> None:
    assert str(BatchcoreError()) == ""


def test_every_exception_has_an_example() -> None:
    assert {type(error).__name__ for error, _ in EXAMPLES} == set(classes()) - {"BatchcoreError"}


def test_every_exception_is_public() -> None:
    assert set(classes()) <= set(batchcore.__all__)
    for name, found in classes().items():
        assert getattr(batchcore, name) is found
        assert issubclass(found, BatchcoreError)
