"""How much there is."""

from dataclasses import dataclass

POSITIONS = 15
SEED = 20_250_630


@dataclass(frozen=True, slots=True)
class Size:
    """How much a database holds; a tenth of the symbols are options.

    The `sessions` can be valued, the market has ten more before them.
    """

    name: str
    portfolios: int
    symbols: int = 3000
    sessions: int = 120
    positions: int = POSITIONS

    def __str__(self) -> str:
        return (
            f"{self.portfolios:,} portfolios of {self.positions} positions,"
            f" {self.symbols:,} symbols x {self.sessions + 10} sessions"
        )


SIZES = {
    size.name: size
    for size in (
        Size("xs", 20, symbols=100, sessions=10),
        Size("s", 1000),
        Size("m", 10_000),
        Size("l", 100_000),
        Size("xl", 1_000_000),
    )
}
"""`xs` is what the tests run on."""
