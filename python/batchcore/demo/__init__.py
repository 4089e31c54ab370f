"""The demo and all that only it and the tests need: a market, a server, rows checked one by one.

The commands `demo` and `generate` import it; a run loads nothing of it.
"""
