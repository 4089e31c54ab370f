"""batchcore as a task of Airflow: exit code 99, nothing to do, skips it; others are retried."""

import datetime as dt

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "nightly",
    schedule="0 18 * * 1-5",
    start_date=dt.datetime(2025, 6, 30, tzinfo=dt.UTC),
    catchup=False,  # a run continues after the latest snapshots by itself
    max_active_runs=1,
):
    BashOperator(
        task_id="batch",
        # exec: a task that is stopped sends SIGTERM to the batch, which gives its lease back
        bash_command="exec batchcore run --wait 600 --artifact /var/lib/batchcore/nightly.json",
        env={"BATCHCORE_DATABASE_URL": "{{ conn.portfolios.get_uri() }}"},
        append_env=True,
        skip_on_exit_code=99,
        retries=3,
        retry_delay=dt.timedelta(minutes=5),
    )
