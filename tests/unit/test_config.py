"""Settings and names: checked when made, frozen, hashable, and the same in another process."""

import copy
import datetime as dt
import json
import pickle
import re
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batchcore.config import (
    CHECKS,
    MOST_LOOKBACK_DAYS,
    MOST_SHARDS,
    RANGES,
    Fx,
    Schema,
    Settings,
    Splits,
)
from batchcore.errors import ConfigError

ACTIONS = "off, report, fail"
NAMED = Schema(
    namespace="host",
    tables={"positions": "holdings"},
    columns={"positions.entry_price": "cost_basis_per_share"},
    scales={"positions.quantity": 8},
    factors={"Market Beta": "SPY"},
)


def test_settings_pickle_with_their_schema() -> None:
    settings = Settings(schema=NAMED, lookback_days=5, checks={"price_jump": "fail"})
    again = pickle.loads(pickle.dumps(settings))  # noqa: S301  # our own bytes
    assert again == settings
    assert dict(again.checks) == dict(settings.checks)
    assert again.schema.column("positions", "entry_price") == "cost_basis_per_share"


def test_equal_settings_hash_alike() -> None:
    other = Schema(
        "host", *(dict(getattr(NAMED, one)) for one in ("tables", "columns", "scales", "factors"))
    )
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
        *((option, least - 1) for option, (least, _) in RANGES.items()),
        *((option, most + 1) for option, (_, most) in RANGES.items()),
        ("min_coverage", -0.1),
        ("min_coverage", 1.1),
        ("min_coverage", float("nan")),
        ("max_move", 0),
        ("max_move", 1000.1),
        ("max_move", 0.1234567),
        ("max_move", float("inf")),
        ("max_missing", -0.1),
        ("max_missing", 1.1),
        ("max_missing", float("nan")),
        *((option, None) for option in ("ledger_days", "lease_seconds", "frozen_sessions")),
        *((option, None) for option in ("lookback_days", "min_coverage", "max_move", "schema")),
        *((option, "4") for option in ("threads", "lease_seconds", "min_coverage", "chunk_size")),
        *((option, 1.5) for option in ("threads", "lookback_days", "frozen_sessions")),
        ("chunk_size", 1.0),
        ("threads", True),
        ("min_coverage", True),
        ("max_missing", Decimal("0.5")),
        ("lease_seconds", dt.timedelta(seconds=60)),
        ("max_failed", None),
        ("max_failed", True),
        ("schema", "host.toml"),
        ("schema", {"namespace": "host"}),
        ("today", "2026-01-07"),
        ("today", dt.datetime(2026, 1, 7, tzinfo=dt.UTC)),
        ("dry_run", "false"),
        ("dry_run", None),
        ("fx_pivot", 1),
        *(("shard", wrong) for wrong in ([1, 2], (1, True), (1, 2, 3), "1/2")),
        *(("shard", (k, n)) for k, n in ((0, 2), (3, 2), (1, 0), (1, MOST_SHARDS + 1))),
        *(
            ("max_failed", text)
            for text in ("", "%", "many", "-1", "101%", "1.5", "1 %", "\uff11%")
        ),
        *(("max_failed", number) for number in (-1, 0.5)),
        ("checks", ["price_jump"]),
        ("checks", None),
    ],
)
def test_a_setting_out_of_its_range_or_of_another_type_is_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{option} is .*, expected ") as error:
        Settings(**{option: value})
    assert error.value.option == option


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("fx_lookback_days", -1, "fx_lookback_days is -1, expected 0 to 36525"),
        ("fx_pivot", " ", "fx_pivot is ' ', expected a currency such as USD"),
        ("shard", (3, 2), f"shard is 3/2, expected k/n with 1 <= k <= n <= {MOST_SHARDS}"),
        ("shard", "1/2", f"shard is '1/2', expected k/n with 1 <= k <= n <= {MOST_SHARDS}"),
        ("max_failed", "", "max_failed is '', expected a count such as 5, or 0% to 100%"),
        ("checks", ["x"], "checks is ['x'], expected a mapping of names to actions"),
        (
            "checks",
            {"jump": "fail"},
            f"checks: unknown check `jump`, expected one of {', '.join(CHECKS)}",
        ),
        *(
            (
                "checks",
                {"price_jump": no},
                f"checks: `price_jump` is {no!r}, expected one of {ACTIONS}",
            )
            for no in ("no", True)
        ),
    ],
)
def test_what_is_expected_is_said(option: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Settings(**{option: value})
    assert (str(error.value), error.value.option) == (message, option)


def test_today_may_be_of_a_class_derived_from_dates() -> None:
    class Date(dt.date):
        pass

    assert type(Settings(today=Date(2026, 1, 7)).today) is dt.date


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"namespace": None}, "`namespace` is None, expected text"),
        ({"namespace": ""}, "`namespace` is empty, expected a name"),
        ({"tables": None}, "`tables` is None, expected a table"),
        ({"tables": ["positions"]}, "`tables` is ['positions'], expected a table"),
        ({"tables": {"positions": None}}, "`tables.positions` is None, expected text"),
        ({"tables": {"positions": ""}}, "`tables.positions` is empty, expected a name"),
        ({"tables": {1: "x"}}, "`a key of tables` is 1, expected text"),
        ({"columns": {"positions": {"symbol": "x"}}}, "`columns.positions` is {'symbol': 'x'}, ex"),
        ({"scales": {"positions.quantity": "4"}}, "`scales.positions.quantity` is '4', expected a"),
        ({"scales": {"positions.quantity": None}}, "`scales.positions.quantity` is None, expecte"),
        ({"factors": {"Market Beta": 1}}, "`factors.Market Beta` is 1, expected text"),
        ({"splits": True}, "`splits` is True, expected a table"),
        ({"fx": "fx_rates"}, "`fx` is 'fx_rates', expected a table"),
        ({"tables": {"prices": "x"}}, "schema.tables: unknown table `prices`"),
        ({"columns": {"positions": "x"}}, "schema.columns: expected `table.column`, was `posit"),
        ({"columns": {"prices.close": "x"}}, "schema.columns: expected `table.column`, was `pri"),
        ({"scales": {"positions.quantity": 19}}, "schema.scales: `positions.quantity` is 19, exp"),
    ],
)
def test_a_name_that_is_none_is_refused(names: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(told)}") as error:
        Schema(**names)
    assert error.value.option == "schema"


def test_options_become_dictionaries_and_copies() -> None:
    schema = replace(
        NAMED,
        splits=Splits("splits", "as_traded", "as_entered", {"new": "after"}),
        fx=Fx("rates", "positions.ccy"),
    )
    settings = Settings(schema=schema, checks={"price_jump": "off"})
    for options in (settings, schema, schema.splits, schema.fx):
        assert json.loads(json.dumps(asdict(options)))
        for again in (copy.deepcopy(options), copy.copy(options), replace(options)):
            assert again == options
            assert hash(again) == hash(options)
    assert asdict(settings)["schema"]["tables"] == {"positions": "holdings"}


def test_what_options_map_does_not_change() -> None:
    settings = Settings()
    with pytest.raises(TypeError, match="does not change"):
        settings.checks.update(price_low="off")  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="does not change"):
        settings.checks["price_low"] = "off"  # type: ignore[index]
    with pytest.raises(TypeError, match="does not change"):
        settings.schema.tables |= {"positions": "x"}


def test_each_check_that_is_not_named_is_reported() -> None:
    asked = {"price_jump": "fail", "price_low": "off"}
    settings = Settings(checks=asked)
    asked["price_low"] = "fail"
    assert dict(settings.checks) == dict.fromkeys(CHECKS, "report") | {
        "price_jump": "fail",
        "price_low": "off",
    }
    assert settings == Settings(checks=dict(settings.checks))
    assert settings != Settings()


def written(folder: Path, text: str) -> Path:
    path = folder / "schema.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_names_what_a_schema_does(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        namespace = "ledger"
        [tables]
        positions = "holdings"
        [columns]
        positions.entry_price = "cost_basis_per_share"
        "positions.quantity" = "Units Held"
        [columns.market_data_cache]
        close = "last"
        [scales]
        market_data_cache.close = 6
        "positions.quantity" = 4
        """,
    )
    assert Schema.from_toml(path) == Schema(
        namespace="ledger",
        tables={"positions": "holdings"},
        columns={
            "positions.entry_price": "cost_basis_per_share",
            "positions.quantity": "Units Held",
            "market_data_cache.close": "last",
        },
        scales={"market_data_cache.close": 6, "positions.quantity": 4},
    )
    assert Schema.from_toml(str(written(tmp_path, ""))) == Schema()


def test_a_file_may_begin_with_a_signature_of_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_bytes(b"\xef\xbb\xbfnamespace = 'host'\n")
    assert Schema.from_toml(path).namespace == "host"


PRICED = "[splits]\nprice_basis = 'adjusted'\n"
BASED = f"{PRICED}quantity_basis = 'current'\n"


def test_splits_are_mapped_by_a_file_as_by_a_mapping(tmp_path: Path) -> None:
    path = written(tmp_path, f"{BASED}table = 'a'\ncolumns.new = 'b'\n[scales]\nsplits.new = 4")
    splits = Splits("a", "adjusted", "current", {"new": "b"})
    schema = Schema(scales={"splits.new": 4}, splits=splits)
    assert Schema.from_toml(path) == schema == pickle.loads(pickle.dumps(schema))  # noqa: S301
    assert hash(schema) == hash(replace(schema, splits=splits.as_dict())) != hash(Schema())
    assert (schema.table("splits"), schema.column("splits", "new")) == ("a", "b")
    assert schema.column("splits", "old") == "old"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "names = 1",
            "unknown key `names`, expected namespace, tables, columns, scales, factors, price_sour",
        ),
        ("namespace = 1", "`namespace` is 1, expected text"),
        ('namespace = ""', "`namespace` is empty"),
        ("tables = 'x'", "`tables` is 'x', expected a table"),
        ("[tables]\npositions = 1", "`tables.positions` is 1, expected text"),
        ("[tables]\npositions = ''", "`tables.positions` is empty"),
        ("[tables]\nprices = 'x'", "unknown table `prices`"),
        ("columns = []", "`columns` is [], expected a table"),
        ("[columns]\npositions = 'x'", "expected `table.column`, was `positions`"),
        ("[columns]\npositions.quantity = 4", "`columns.positions.quantity` is 4, expected text"),
        ("[columns.positions]\nquantity = ''", "`columns.positions.quantity` is empty"),
        ("[scales]\npositions.quantity = '4'", "`scales.positions.quantity` is '4', expected a"),
        ("[scales]\npositions.quantity = 4.0", "`scales.positions.quantity` is 4.0, expected a"),
        ("[scales]\npositions.quantity = true", "`scales.positions.quantity` is True, expected"),
        ("[scales]\npositions.quantity = 19", "`positions.quantity` is 19, expected 0 to 18"),
        (
            "[columns]\npositions.quantity = 'a'\n'positions.quantity' = 'b'",
            "`columns.positions.quantity` is given twice",
        ),
        ("price_sources = 'a'", "price_sources is 'a', expected a list of distinct texts"),
        ("price_sources = ['a', 1]", "price_sources is ['a', 1], expected a list of distinct"),
        ("price_sources = ['a', 'a']", "price_sources is ['a', 'a'], expected a list of distinct"),
        ("[scales\n", "is not valid TOML: "),
        ("namespace = " + "[" * 3000 + "]" * 3000, "is not valid TOML: "),
        ("[factors]\n'Market Beta' = 'QQQ'", "`Market Beta` is QQQ, expected one of SPY, TLT"),
        ("[factors.Market]\nBeta = 'SPY'", "`factors.Market` is {'Beta': 'SPY'}, expected text"),
        ("fx = 'x'", "`fx` is 'x', expected a table"),
        ("[fx]\ntable = 'r'", "fx.currency is '', expected `positions.<column>` or `company_prof"),
        ("[fx]\ntable = 'r'\ncurrency = 'x.y'", "fx.currency is 'x.y', expected `positions.<"),
        ("[fx]\ntable = 'r'\ncurrency = 'positions.'", "fx.currency is 'positions.', expected"),
        ("[fx]\ncurrency = 'positions.ccy'", "fx.table is '', expected the name of the table of"),
        (
            "[fx]\ntable = 'r'\ncurrency = 'positions.c'\ncolumns = { bid = 'b' }",
            "fx.columns: unknown column `bid`, expected one of base, quote, date, rate, updated_at",
        ),
        (
            "[fx]\ntable = 'r'\ncurrency = 'positions.c'\ncolumns = { rate = 1 }",
            "`fx.columns.rate` is 1, expected text",
        ),
        ("[fx]\nrates = 'r'", "unknown key `fx.rates`, expected one of table, currency, columns"),
        ("[factors]\n'Market Beta' = 1", "`factors.Market Beta` is 1, expected text"),
        ("splits = 1", "`splits` is 1, expected a table"),
        ("[splits]\nname = 'a'", "unknown key `splits.name`, expected one of table, price_basis"),
        ("[splits]\ntable = 'a'", "splits.price_basis is missing, expected `as_traded` or `adju"),
        (f"{PRICED}", "splits.quantity_basis is missing, expected `as_entered` or `current`"),
        (f"{PRICED}quantity_basis = 'now'", "splits.quantity_basis is 'now', expected `as_entered"),
        (f"{BASED}", "splits.table is '', expected the name of the table of splits"),
        (f"{BASED}table = 1", "splits.table is 1, expected the name of the table of splits"),
        (f"{BASED}table = 'a'\ncolumns = 1", "`splits.columns` is 1, expected a table"),
        (f"{BASED}table = 'a'\ncolumns.ratio = 'x'", "splits.columns: unknown column `ratio`, exp"),
        (f"{BASED}table = 'a'\ncolumns.new = ''", "`splits.columns.new` is empty, expected a name"),
        ("[scales]\nsplits.new = 4", "scales: expected `table.column`, was `splits.new`"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_it(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path}: ')}") as error:
        Schema.from_toml(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.option == "schema"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        Schema.from_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Schema.from_toml(tmp_path)
    odd = tmp_path / "odd.toml"
    odd.write_bytes(b"namespace = '\xff'")
    with pytest.raises(ConfigError, match=r"odd\.toml: is not UTF-8 text"):
        Schema.from_toml(odd)


def test_rates_are_mapped_as_a_table_of_a_file_says(tmp_path: Path) -> None:
    text = """
    scales = { "fx.rate" = 6 }
    [fx]
    table = "fx_rates"
    columns = { base = "from", quote = "to" }
    currency = "positions.ccy"
    """
    schema = Schema.from_toml(written(tmp_path, text))
    mapped = Fx("fx_rates", "positions.ccy", {"base": "from", "quote": "to"})
    assert schema == Schema(fx=mapped, scales={"fx.rate": 6})
    assert schema == pickle.loads(pickle.dumps(schema))  # noqa: S301  # our own bytes
    assert hash(schema) == hash(Schema(fx=mapped, scales={"fx.rate": 6}))
    assert (schema.table("fx"), schema.column("fx", "base")) == ("fx_rates", "from")
    assert (schema.column("fx", "rate"), schema.column("positions", "currency")) == ("rate", "ccy")
    assert Schema().column("positions", "currency") == "currency"
