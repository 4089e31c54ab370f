"""Hosts and servers that a DBA has made otherwise, and what each of them costs him."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from batch.data import SETTINGS
from batch.job import JOBS

DURABLE = {
    **SETTINGS,
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_size": "1GB",
}
"""Settings of a server that loses nothing, PostgreSQL's own but for the vacuum."""

PLAIN, DURABLE_PLAIN = "plain", "durable"
DAILY = ("daily",)


@dataclass(frozen=True, slots=True)
class Variant:
    """A host and its server, made by `sql` of a plain host, and what that costs the DBA.

    It is compared with the variant `plain`; `before` is run on tables that were put back, for the
    `jobs` where it matters.
    """

    name: str
    cost: str
    plain: str = PLAIN
    sql: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    before: tuple[str, ...] = ()
    jobs: tuple[str, ...] = JOBS

    @property
    def database(self) -> str:
        """Return the name of its database; those that differ in settings alone share one."""
        if not self.sql:
            return "plain"
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)


WITHOUT_KEY = (
    "ALTER TABLE portfolio_snapshots DROP CONSTRAINT fk_portfolio_snapshots_portfolio_id",
)
DOUBLED = (
    (
        "ALTER TABLE portfolio_snapshots ADD CONSTRAINT uq_portfolio_snapshots_again"
        " UNIQUE (portfolio_id, snapshot_date)"
    ),
)
SIX_INDEXES = (
    *DOUBLED,
    "CREATE INDEX ix_snapshots_portfolio ON portfolio_snapshots (portfolio_id)",
    "CREATE INDEX ix_snapshots_date ON portfolio_snapshots (snapshot_date)",
    ("CREATE INDEX ix_snapshots_latest ON portfolio_snapshots (portfolio_id, snapshot_date DESC)"),
)
PARENT = (
    "DROP TABLE portfolio_snapshots",
    (
        "CREATE TABLE portfolio_snapshots (LIKE bench.columns INCLUDING DEFAULTS,"
        " PRIMARY KEY (id, snapshot_date), UNIQUE (portfolio_id, snapshot_date),"
        " FOREIGN KEY (portfolio_id) REFERENCES portfolios (id))"
        " PARTITION BY RANGE (snapshot_date)"
    ),
)
"""Make the table a partitioned one, by `bench.columns`, a copy of what it was like."""

KEEP_COLUMNS = "CREATE TABLE bench.columns (LIKE portfolio_snapshots INCLUDING DEFAULTS)"

PACKED = ("VACUUM (FULL, ANALYZE) portfolios",)


@dataclass(frozen=True, slots=True)
class Month:
    """A month of snapshots, and the partition for it."""

    first: date

    @property
    def end(self) -> date:
        """Return the first day after it."""
        year, month = divmod(self.first.year * 12 + self.first.month, 12)
        return date(year, month + 1, 1)

    @property
    def partition(self) -> str:
        return f"portfolio_snapshots_{self.first:%Y_%m}"

    def empty(self) -> str:
        """Return the statement that makes it under the parent, with the parent's indexes."""
        return (
            f"CREATE TABLE {self.partition} PARTITION OF portfolio_snapshots"
            f" FOR VALUES FROM ('{self.first}') TO ('{self.end}')"
        )

    def bare(self) -> str:
        """Return the statement that makes it by itself, without index or constraint."""
        return f"CREATE TABLE {self.partition} (LIKE portfolio_snapshots INCLUDING DEFAULTS)"

    def attached(self) -> tuple[str, ...]:
        """Return the statements that give a filled one what the parent has, and attach it.

        The CHECK spares the scan of a partition that is attached; the keys it has already are
        taken over, not built again.
        """
        name = self.partition
        return (
            f"ALTER TABLE {name} ADD PRIMARY KEY (id, snapshot_date)",
            f"ALTER TABLE {name} ADD UNIQUE (portfolio_id, snapshot_date)",
            f"ALTER TABLE {name} ADD FOREIGN KEY (portfolio_id) REFERENCES portfolios (id)",
            (
                f"ALTER TABLE {name} ADD CONSTRAINT bounds CHECK (snapshot_date >= '{self.first}'"
                f" AND snapshot_date < '{self.end}')"
            ),
            (
                f"ALTER TABLE portfolio_snapshots ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{self.first}') TO ('{self.end}')"
            ),
            f"ALTER TABLE {name} DROP CONSTRAINT bounds",
        )


def months(sessions: Sequence[date]) -> list[Month]:
    """Return the months of sessions, ascending."""
    return [Month(first) for first in sorted({day.replace(day=1) for day in sessions})]


def variants(sessions: Sequence[date], *, compression: str) -> list[Variant]:
    """Return the variants, each plain one before those that are compared with it.

    `sessions` are all that a job may write or go on from, `compression` one that the server has.
    """

    def durable(name: str, cost: str, **settings: str) -> Variant:
        return Variant(name, cost, DURABLE_PLAIN, settings={**DURABLE, **settings})

    partitions = tuple(month.empty() for month in months(sessions))
    return [
        Variant(PLAIN, ""),
        Variant(
            "no foreign key", "snapshots of portfolios that are gone can stay", sql=WITHOUT_KEY
        ),
        Variant("unique twice", "none has a use for the second", sql=DOUBLED),
        Variant("six indexes", "each is for queries of the host", sql=SIX_INDEXES),
        Variant(
            "monthly partitions",
            "a partition in time for each month; unique ids no longer guarded; tables to plan",
            sql=(*PARENT, *partitions),
        ),
        Variant(
            "portfolios packed", "the plain one after a VACUUM FULL", before=PACKED, jobs=DAILY
        ),
        *(
            Variant(
                f"packed fillfactor {share}",
                f"{100 / share:.1f} times the pages of portfolios to read",
                "portfolios packed",
                sql=(f"ALTER TABLE portfolios SET (fillfactor = {share})",),
                before=PACKED,
                jobs=DAILY,
            )
            for share in (70, 50)
        ),
        Variant(DURABLE_PLAIN, "", DURABLE_PLAIN, settings=DURABLE),
        durable(
            "synchronous_commit off",
            "a crash loses the last chunks; the next run writes them again",
            synchronous_commit="off",
        ),
        durable(
            "wal_level minimal",
            "no standby, no archive, no point-in-time recovery",
            wal_level="minimal",
            max_wal_senders="0",
        ),
        durable("max_wal_size 64MB", "checkpoints in the middle of a run", max_wal_size="64MB"),
        durable("max_wal_size 16GB", "disk, and a longer recovery", max_wal_size="16GB"),
        durable(f"wal_compression {compression}", "processor time", wal_compression=compression),
        durable(
            "full_page_writes off",
            "a torn page cannot be repaired: only where the file system cannot tear one",
            full_page_writes="off",
        ),
    ]
