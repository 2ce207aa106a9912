"""Which task runs of this process must be found in Prefect's database.

Prefect's task runs reach the server as events and are written in the background; a process that
ends at once after its flow loses most of them. `wait_recorded` waits until all are there.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run, task_run

log = logging.getLogger("qstar_core.records")

TERMINAL = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
POLL_S = 0.2

_seen: dict[str, set[str]] = defaultdict(set)


def note_task_run() -> None:
    """Called first in every task that a flow calls itself: remembers this task run.

    Its retries have the same id. A task that is handed to a task runner may run in another process;
    who hands it over notes it (`note_submitted`).
    """
    if task_run.id and flow_run.id:
        _seen[str(flow_run.id)].add(str(task_run.id))


def note_submitted(flow_run_id: str, task_run_id: UUID) -> None:
    """Remembers a task run that was handed to a task runner."""
    _seen[flow_run_id].add(str(task_run_id))


def wait_recorded(flow_run_id: str, timeout_s: float = 60.0) -> tuple[int, int]:
    """Waits until every noted task run of a flow run is on record in a terminal state.

    Returns:
        (task runs on record, task runs noted); they differ only after the timeout.
    """
    noted = len(_seen.pop(flow_run_id, ()))
    end = time.monotonic() + timeout_s
    while True:
        recorded = count_recorded(flow_run_id)
        if recorded >= noted or time.monotonic() > end:
            return recorded, noted
        time.sleep(POLL_S)


def await_records(flow_run_id: str) -> None:
    """Waits for the task runs to be on record; never fails, but says what is missing."""
    try:
        recorded, noted = wait_recorded(flow_run_id)
    except Exception as error:  # must neither hide the run's own error nor spoil its success
        log.warning("Prefect does not say whether it has all task runs on record: %s", error)
        return
    if recorded < noted:
        log.warning(
            "Prefect has only %d of %d task runs on record; the data sets are not affected",
            recorded,
            noted,
        )


def count_recorded(flow_run_id: str) -> int:
    """Task runs of a flow run that the server has in a terminal state."""
    flow_runs = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(flow_run_id)]))
    terminal = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=TERMINAL)))
    with get_client(sync_client=True) as client:
        response = client.request(
            "POST",
            "/task_runs/count",
            json={
                "flow_runs": flow_runs.model_dump(mode="json", exclude_unset=True),
                "task_runs": terminal.model_dump(mode="json", exclude_unset=True),
            },
        )
    return int(response.json())
