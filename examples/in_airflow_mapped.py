"""batchcore as mapped tasks of Airflow: each does a share of the portfolios, and is retried alone.

The last task fails unless all shards of the latest group in the ledger are complete.
"""

import datetime as dt

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

SHARDS = 4
DATABASE = {"BATCHCORE_DATABASE_URL": "{{ conn.portfolios.get_uri() }}"}

with DAG(
    "nightly_in_shards",
    schedule="0 18 * * 1-5",
    start_date=dt.datetime(2025, 6, 30, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
):
    shards = BashOperator.partial(
        task_id="shard",
        bash_command=f"exec batchcore run --shard {{{{ ti.map_index + 1 }}}}/{SHARDS} --wait 600",
        append_env=True,
        skip_on_exit_code=99,
        retries=3,
        retry_delay=dt.timedelta(minutes=5),
    ).expand(env=[DATABASE] * SHARDS)
    whole = BashOperator(
        task_id="whole",
        bash_command=(
            "latest=$(batchcore status --json | python -c 'import json, sys;"
            ' print(next(one["group"] for one in json.load(sys.stdin)["runs"] if one["group"]))\')'
            ' && exec batchcore status --group "$latest"'
        ),
        env=DATABASE,
        append_env=True,
        trigger_rule="none_failed",  # a shard with nothing to do is skipped
    )
    shards >> whole
