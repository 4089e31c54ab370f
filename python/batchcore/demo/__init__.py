"""The demo, and everything that only it and the tests need: a market, a server, a check of rows.

The commands `demo` and `generate` import it; a run loads nothing of it.
"""
