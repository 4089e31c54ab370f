"""Whether rows to be written fit the tables of the schema."""

from datetime import UTC, date, datetime

import numpy as np

from batchcore.db.tables import metadata
from batchcore.frames import Constant, Days, Decimals, Integers, Moment, Text


def assert_fits(table) -> None:
    """Assert that each column of a frame fits its SQLAlchemy column, and that none is missing."""
    columns = metadata.tables[table.name].columns
    for name, values in table.columns.items():
        column_fits(columns[name], values, table.rows)
    needed = {c.name for c in columns if not c.nullable and c.server_default is None}
    assert needed <= table.columns.keys(), table.name


def column_fits(column, values, rows: int) -> None:
    """Assert that each of ``values`` fits an SQLAlchemy column."""
    name = f"{column.table.name}.{column.name}"
    kind = column.type
    state = getattr(values, "state", None)
    if not column.nullable:
        assert state is None or not state.any(), name
    if isinstance(values, Constant):
        assert isinstance(values.value, kind.python_type), name
        return
    if isinstance(values, Moment):
        assert kind.python_type is datetime, name
        assert datetime.fromtimestamp(values.unix_us / 1_000_000, UTC).year > 1990
        return
    assert len(values) == rows, name
    if isinstance(values, Decimals):
        assert values.scale == kind.scale, name
        assert np.abs(values.values).max(initial=0) < 10**kind.precision, name
    elif isinstance(values, Text):
        allowed = getattr(kind, "enums", None)
        for text in values.table():
            assert text in allowed if allowed else len(text) <= kind.length, name
    elif isinstance(values, Days):
        assert kind.python_type is date, name
    elif isinstance(values, Integers):
        assert kind.python_type is int, name
    elif values.dtype == np.bool_:
        assert kind.python_type is bool, name
        assert values.shape == (rows,), name
    else:
        assert values.shape == (rows, 16), name
        assert values.dtype == np.uint8, name
