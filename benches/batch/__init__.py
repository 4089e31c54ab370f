"""Side by side: the same batch, done by the floor, by batchcore and by its peers.

    make bench-batch SIZE=m JOB=daily
    make bench-batch SIZE=m JOB=backfill SIDES=floor,batchcore ROUNDS=3 DATA=folder

or `python -m batch --help` with `benches/` on the path. A size is a number of portfolios of 15
positions each, seeded; `DAILY` writes one session on top of a stored one, `BACKFILL` writes 120
from nothing. Before each timed run the tables are put back, vacuumed and checkpointed; each run is
a process of its own; the sides take turns in a shuffled order; what each of them wrote is compared,
cell by cell, with the rows of batchcore, and these with the reference.

- `sizes`, `job`: how much there is, and what is to be done with it
- `data`: the database, made once and kept where a folder is given
- `state`: what the tables are before a run, and putting them back
- `sides/`: one module for each side; `sides/__init__.py` lists them and says how to write one
- `inputs`, `snapshots`, `wire`: what the peers read and write, at a fixed width by binary COPY
- `child`: one run of one side, in its process
- `compare`: what was written, against the reference and against each other
- `contest`: the rounds; `table`: their medians

Beside the contest, `scaling` tells how the cost of a run grows, and `server` what hosts and servers
that a DBA has made otherwise (`variants`) do to it. `scaleout` measures several processes and
servers, `model` says from that what other machines take, and `simulation` checks the model.
"""
