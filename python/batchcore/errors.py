"""Every exception of batchcore: one family, with attributes, that pickles."""


class BatchcoreError(Exception):
    """Base of all exceptions that batchcore raises on purpose."""

    def __str__(self) -> str:
        """Return the message alone, without the attributes."""
        return str(self.args[0]) if self.args else ""


class ConfigError(BatchcoreError, ValueError):
    """An argument, option, setting or URL is wrong, or names something that does not exist.

    So is a run beyond the calendar.

    Attributes:
        option: Its name, or None if the fault is not in one option.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message, option)  # all of them, in order: pickling replays `args`
        self.option = option


class InputError(BatchcoreError, ValueError):
    """A column passed to the core has a wrong type, shape or length, or contradictory rows.

    Attributes:
        column: Its name, or None if the fault is not in one column.
    """

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message, column)
        self.column = column


class DecodeError(BatchcoreError, ValueError):
    """The server sent bytes that do not match its catalog.

    Attributes:
        query: Name of the query, if known.
        column: Name of the column, if the fault is in one.
        row: Index of the row, from 0.
    """

    def __init__(
        self,
        message: str,
        query: str | None = None,
        column: str | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(message, query, column, row)
        self.query = query
        self.column = column
        self.row = row


class NumericError(BatchcoreError, ArithmeticError):
    """A value does not fit its fixed-point type.

    Attributes:
        column: Name of the column, if known.
    """

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message, column)
        self.column = column


class SchemaError(BatchcoreError, LookupError):
    """Tables, columns, types or privileges are missing, or the database was not migrated.

    Nothing was loaded.

    Attributes:
        problems: One line for each difference, all of them.
    """

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, problems)
        self.problems = problems


class DatabaseError(BatchcoreError, RuntimeError):
    """The server cannot be reached, refused, failed, went away or stored other rows than were sent.

    Chunks committed before stay. It is raised from the driver's own error.

    Attributes:
        sqlstate: The SQLSTATE of five characters, if the server sent one.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message, sqlstate)
        self.sqlstate = sqlstate


class CoverageError(BatchcoreError, LookupError):
    """The prices of a session have not arrived: coverage below ``min_coverage`` (S12).

    Nothing was written.

    Attributes:
        session: The first such session, ISO date.
        coverage: Its coverage, 0 to 1.
        min_coverage: The coverage requested.
    """

    def __init__(
        self, message: str, session: str = "", coverage: float = 0.0, min_coverage: float = 0.0
    ) -> None:
        super().__init__(message, session, coverage, min_coverage)
        self.session = session
        self.coverage = coverage
        self.min_coverage = min_coverage


class SnapshotExistsError(BatchcoreError, ValueError):
    """A complete snapshot exists in the range and ``on_existing`` is ``error`` (S13).

    Nothing was written.

    Attributes:
        portfolio: The first such portfolio.
        session: The first such session of it, ISO date.
    """

    def __init__(self, message: str, portfolio: str = "", session: str = "") -> None:
        super().__init__(message, portfolio, session)
        self.portfolio = portfolio
        self.session = session


class LeaseHeldError(BatchcoreError, RuntimeError):
    """Another run works on some of the portfolios, or took over from this one.

    Or another migration of this database is running.

    Attributes:
        run_id: The run that holds the lease.
    """

    def __init__(self, message: str, run_id: str | None = None) -> None:
        super().__init__(message, run_id)
        self.run_id = run_id


class ConcurrentUseError(BatchcoreError, RuntimeError):
    """Two threads use one cache at once; nothing was looked up, loaded or changed.

    Attributes:
        cache: Class of the cache.
    """

    def __init__(self, message: str, cache: str | None = None) -> None:
        super().__init__(message, cache)
        self.cache = cache


class TooManyFailedError(BatchcoreError, RuntimeError):
    """More portfolios failed than ``max_failed`` allows; chunks committed before stay.

    Attributes:
        failed: Number of portfolios that had failed when the run stopped.
        allowed: Number of portfolios that may fail.
    """

    def __init__(self, message: str, failed: int = 0, allowed: int = 0) -> None:
        super().__init__(message, failed, allowed)
        self.failed = failed
        self.allowed = allowed


class ProcessDiedError(BatchcoreError, RuntimeError):
    """A process, or a task of a cluster, ended without a report, for instance when killed.

    The others finish; chunks committed before stay.

    Attributes:
        shard: Its shard, ``(k, n)``.
        status: Its exit code, or the negative number of the signal that ended it.
    """

    def __init__(
        self, message: str, shard: tuple[int, int] | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, shard, status)
        self.shard = shard
        self.status = status


class RateMissingError(BatchcoreError, LookupError):
    """A lot in another currency has no rate, so that a run would fail its portfolio (C7).

    Attributes:
        rate: The pair of units, such as ``EUR/USD``, with the date where it differs from the
            session.
        session: ISO date.
    """

    def __init__(self, message: str, rate: str = "", session: str = "") -> None:
        super().__init__(message, rate, session)
        self.rate = rate
        self.session = session


class InternalError(BatchcoreError, RuntimeError):
    """A defect of batchcore; please report it with the printed line."""


class CancelledError(BatchcoreError, RuntimeError):
    """A native call was stopped by its cancel flag."""
