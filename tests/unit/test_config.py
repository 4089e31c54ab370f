"""Settings and names: checked when made, frozen, hashable, and the same in another process."""

import pickle

import pytest

from batchcore.config import MOST, MOST_LOOKBACK_DAYS, Schema, Settings
from batchcore.errors import ConfigError

NAMED = Schema(
    namespace="host",
    tables={"positions": "holdings"},
    columns={"positions.entry_price": "cost_basis_per_share"},
    scales={"positions.quantity": 8},
)


def test_settings_pickle_with_their_schema() -> None:
    settings = Settings(schema=NAMED, lookback_days=5)
    again = pickle.loads(pickle.dumps(settings))  # noqa: S301  # our own bytes
    assert again == settings
    assert again.schema.column("positions", "entry_price") == "cost_basis_per_share"


def test_equal_settings_hash_alike() -> None:
    other = Schema("host", dict(NAMED.tables), dict(NAMED.columns), dict(NAMED.scales))
    assert hash(Settings(schema=NAMED)) == hash(Settings(schema=other))
    assert len({Settings(), Settings(), Settings(schema=NAMED)}) == 2


def test_a_schema_does_not_follow_the_mapping_it_was_made_of() -> None:
    tables = {"positions": "holdings"}
    schema = Schema(tables=tables)
    tables["no such table"] = "x"
    assert dict(schema.tables) == {"positions": "holdings"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lookback_days", -1),
        ("lookback_days", MOST_LOOKBACK_DAYS + 1),
        ("lookback_days", 10**30),
        ("threads", 0),
        ("threads", MOST["threads"] + 1),
        ("chunk_size", 0),
        ("chunk_size", MOST["chunk_size"] + 1),
        ("min_coverage", -0.1),
        ("min_coverage", 1.1),
        ("min_coverage", float("nan")),
    ],
)
def test_a_setting_out_of_its_range_is_named(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{option} is .*, expected ") as error:
        Settings(**{option: value})
    assert error.value.option == option


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"tables": {"prices": "x"}}, "unknown table `prices`"),
        ({"columns": {"positions": "x"}}, "expected `table.column`, was `positions`"),
        ({"columns": {"prices.close": "x"}}, "expected `table.column`, was `prices.close`"),
        ({"scales": {"positions.quantity": 19}}, "`positions.quantity` is 19, expected 0 to 18"),
    ],
)
def test_a_name_that_is_not_of_the_schema_is_refused(names: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Schema(**names)
