"""What the first call imports, and where: each case in a process of its own."""

import asyncio
import inspect

import pytest

import batchcore
from support.command import printed

HEAVY = "numpy asyncpg batchcore._core batchcore.run.batch batchcore.pg.database"
LOOP = """
import asyncio, builtins, importlib, sys, threading
import batchcore

in_loop = set()

class Noted:
    # asked first for each module that is not imported yet
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            in_loop.add(name.partition(".")[0])

async def main():
    sys.meta_path.insert(0, Noted())
    try:
        {call}
    except batchcore.ConfigError as error:
        print(error)

asyncio.run(main())
print(sorted(in_loop & {{"asyncpg", "batchcore", "exchange_calendars", "numpy", "sqlalchemy"}}))
print(all(name in sys.modules for name in ("numpy", "asyncpg")))
"""
CALCULATOR = "from batchcore.run import calculator; in_loop.clear(); await calculator."
"""What its calls need, not the import of its class."""
DAY = "__import__('datetime').date(2026, 1, 5)"
CALLS = {
    "run_batch": "await batchcore.run_batch('x')",
    "a calendar of exchange_calendars": "await batchcore.run_batch('x', calendar='XLON')",
    "repair": "await batchcore.repair('x')",
    "explain": "await batchcore.explain('x')",
    "runs": "await batchcore.runs('x')",
    "verify": "await batchcore.verify('x', calendar='XLON')",
    "performance": "await batchcore.performance('x', calendar='XLON')",
    "read_snapshots": f"await batchcore.read_snapshots('x', {DAY}, {DAY})",
    "one portfolio": "await batchcore.calculate_portfolio_provider_beta('x', '0' * 32)",
    "a calculator": (
        f"{CALCULATOR}PnLCalculator(calendar='XLON', db='x').calculate_portfolio_pnl("
        f"'0' * 32, {DAY})"
    ),
    "an orchestrator": f"{CALCULATOR}BatchOrchestrator('x').run_batch_sequence()",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_first_call_imports_in_a_thread(call: str) -> None:
    error, in_loop, loaded = printed(LOOP.format(call=CALLS[call])).splitlines()
    assert error == "expected a database URL that starts with `postgresql://`"
    assert (in_loop, loaded) == ("[]", "True")


def test_preload_imports_all_that_calls_need() -> None:
    code = f"""
import sys
import batchcore
assert not {{"numpy", "asyncpg"}} & set(sys.modules)
batchcore.preload()
print([name for name in {HEAVY.split()} if name not in sys.modules])
print("pandas" in sys.modules)
batchcore.preload("XLON")
print("pandas" in sys.modules)
"""
    assert printed(code).splitlines() == ["[]", "False", "True"]


def test_preload_tells_an_unknown_calendar() -> None:
    with pytest.raises(batchcore.ConfigError, match="unknown calendar `XXXX`"):
        batchcore.preload("XXXX")


def test_the_functions_to_await_are_listed() -> None:
    awaited = {
        name for name in batchcore.__all__ if inspect.iscoroutinefunction(getattr(batchcore, name))
    }
    assert awaited == batchcore._AWAITED  # noqa: SLF001  # what it decides by


def test_a_function_named_inside_a_loop_is_the_same_to_whoever_looks_at_it() -> None:
    async def looked_at() -> list[object]:
        batchcore.__dict__.pop("runs", None)
        function = batchcore.runs
        return [function.__module__, function.__qualname__, inspect.iscoroutinefunction(function)]

    assert asyncio.run(looked_at()) == ["batchcore", "runs", True]
