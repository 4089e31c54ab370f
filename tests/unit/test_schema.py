"""The description of the tables: nothing in it that is misspelt, or that nothing needs."""

import functools
import operator

import pytest

from batchcore.db.sqlalchemy_tables import ledger, metadata
from batchcore.schema import (
    HOST,
    INDEXES,
    OWN,
    RATE_TABLE,
    REPLACED_INDEX,
    SPLIT_TABLE,
    Kind,
    Table,
    Use,
)

MAPPED = [SPLIT_TABLE, RATE_TABLE]
EVERY = [*HOST.values(), *MAPPED, *OWN.values()]


def names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.name)
def test_keys_and_references_are_of_columns_that_are_there(table: Table) -> None:
    assert len(set(names(table))) == len(table.columns)
    assert {*table.key, *table.unique, *table.found_by} <= set(names(table))
    before = [one.name for one in EVERY[: EVERY.index(table)]]
    for column in table.columns:
        assert not column.references or column.references in before
        assert table.name in OWN or column.kind in Kind


def test_indexes_are_on_columns_that_are_there() -> None:
    for index in (*INDEXES, REPLACED_INDEX):
        assert {*index.columns, *index.where_columns} <= set(names(HOST[index.table]))


def test_each_use_needs_something_and_no_table_is_inserted_without_columns() -> None:
    needed = functools.reduce(operator.or_, (c.uses for t in EVERY for c in t.columns))
    assert needed == functools.reduce(operator.or_, Use)
    for table in HOST.values():
        required = [column for column in table.columns if column.not_null and not column.default]
        for use in table.inserts:
            assert {*required} <= {*table.needed(use | Use.RUN)}, table.name


def test_sqlalchemy_has_every_table_and_column() -> None:
    made = {
        table.name: table.columns.keys()
        for part in (metadata, ledger)
        for table in part.tables.values()
    }
    assert made == {table.name: names(table) for table in EVERY if table not in MAPPED}
