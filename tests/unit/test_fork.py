"""A fork after native calls, or during one, works; nothing hangs."""

from support import bounded

COMPUTE = """
import multiprocessing
import os
import sys
import threading
from support.worked import PRICES, jan, portfolio, position

INPUTS = build.inputs(
    [portfolio(position(), name=str(number)) for number in range(300)], PRICES, [jan(5), jan(6)]
)
SESSIONS = build.session_days([jan(5), jan(6)])

def rows(_=None):
    return len(batchcore.compute(INPUTS, SESSIONS, threads=4))

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() == 600 else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def test_a_child_computes_after_its_parent_did() -> None:
    code = "rows(); print(forked(rows), rows())"
    assert bounded.run(COMPUTE + code) == "0 600\n"


def test_workers_that_are_forked_compute() -> None:
    code = """
rows()
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(rows, range(4)))
"""
    assert bounded.run(COMPUTE + code) == "[600, 600, 600, 600]\n"


def test_a_child_computes_though_it_was_forked_during_native_calls() -> None:
    # Threads take turns often, for it hung where one was in the first of all calls.
    code = """
sys.setswitchinterval(1e-6)
ended = threading.Event()
def compute():
    while not ended.is_set():
        rows()
others = [threading.Thread(target=compute) for _ in range(2)]
for other in others:
    other.start()
codes = [forked(rows) for _ in range(10)]
ended.set()
for other in others:
    other.join()
print(codes)
"""
    assert bounded.run(COMPUTE + code) == f"{[0] * 10}\n"


def test_a_child_asks_the_caches_of_its_parent() -> None:
    code = """
import datetime as dt
from decimal import Decimal
prices = _core.PriceStore.from_frame(build.prices([("A", 1, Decimal(7))]))
reader = _core.PriceReader(prices, {1: 1}, _core.ThreadGuard("reader"))
reader.get_batch(["A"], 1)
def asked():
    assert reader.get_batch(["A", "B"], 1) == {"A": 7}
    return 600
print(forked(asked), asked())
"""
    assert bounded.run(COMPUTE + code) == "0 600\n"
