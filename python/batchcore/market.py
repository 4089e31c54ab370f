"""Generated markets and portfolios, to try `batchcore.compute` without a database."""

from batchcore.demo.market import generated_market, generated_portfolios

__all__ = ["generated_market", "generated_portfolios"]
