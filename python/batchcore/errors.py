"""Every exception of batchcore: one family, with attributes, that pickles."""


class BatchcoreError(Exception):
    """Base of all that batchcore raises on purpose."""

    def __str__(self) -> str:
        """Return the message alone, without the attributes."""
        return str(self.args[0]) if self.args else ""


class ConfigError(BatchcoreError, ValueError):
    """An argument, option or setting is wrong.

    Attributes:
        option: Its name, or None if the fault is not of one option.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message, option)  # all of them, in order: pickling replays `args`
        self.option = option


class InputError(BatchcoreError, ValueError):
    """A column handed to the core is wrong.

    Attributes:
        column: Its name, or None if the fault is not of one column.
    """

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message, column)
        self.column = column


class DecodeError(BatchcoreError, ValueError):
    """Bytes of a binary COPY are not what was announced.

    Attributes:
        query: Name of the query, if known.
        column: Name of the column, if the fault is of one.
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
    """A value does not fit the fixed-point type it is meant for.

    Attributes:
        column: Name of the column, if known.
    """

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message, column)
        self.column = column


class SchemaError(BatchcoreError, LookupError):
    """The database's tables are not those that batchcore can work on.

    Attributes:
        problems: One line for each difference, all of them.
    """

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, problems)
        self.problems = problems


class DatabaseError(BatchcoreError, RuntimeError):
    """The database refused, failed or went away; raised from the driver's own error.

    Attributes:
        sqlstate: The five characters of SQLSTATE, if the server sent any.
    """

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message, sqlstate)
        self.sqlstate = sqlstate


class CoverageError(BatchcoreError, LookupError):
    """The prices of a session have not arrived: coverage below ``min_coverage`` (S12).

    Attributes:
        session: The first such session, ISO date.
        coverage: Its coverage, 0 to 1.
        min_coverage: What was asked for.
    """

    def __init__(
        self, message: str, session: str = "", coverage: float = 0.0, min_coverage: float = 0.0
    ) -> None:
        super().__init__(message, session, coverage, min_coverage)
        self.session = session
        self.coverage = coverage
        self.min_coverage = min_coverage


class SnapshotExistsError(BatchcoreError, ValueError):
    """A complete snapshot stands in the range and ``on_existing`` is ``error`` (S13).

    Attributes:
        portfolio: The first such portfolio.
        session: The first such session of it, ISO date.
    """

    def __init__(self, message: str, portfolio: str = "", session: str = "") -> None:
        super().__init__(message, portfolio, session)
        self.portfolio = portfolio
        self.session = session


class LeaseHeldError(BatchcoreError, RuntimeError):
    """Another live run holds the lease.

    Attributes:
        run_id: The run that holds it.
    """

    def __init__(self, message: str, run_id: str | None = None) -> None:
        super().__init__(message, run_id)
        self.run_id = run_id


class TooManyFailedError(BatchcoreError, RuntimeError):
    """More portfolios failed than ``max_failed`` allows; what was committed before stands.

    Attributes:
        failed: How many had failed when the run stopped.
        allowed: How many may.
    """

    def __init__(self, message: str, failed: int = 0, allowed: int = 0) -> None:
        super().__init__(message, failed, allowed)
        self.failed = failed
        self.allowed = allowed


class InternalError(BatchcoreError, RuntimeError):
    """A defect of batchcore; please report it with the line that it prints."""


class CancelledError(BatchcoreError, RuntimeError):
    """A native call was stopped by its cancel flag."""
