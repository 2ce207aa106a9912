"""Hands the shards of a stage to a task runner, a few at a time, until a budget says stop."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

Spec = dict[str, Any]
Future = PrefectFuture[Any]
POLL_S = 1.0  # in which Ctrl-C is noticed


def submit_all(
    runner: TaskRunner[Any],
    task: Task[Any, Any],
    specs: list[Spec],
    window: int,
    go_on: Callable[[], bool],
    note: Callable[[UUID], None],
    on_done: Callable[[Spec, Future], None],
) -> dict[str, Future]:
    """Runs the shards in their order, at most ``window`` of them at once.

    Args:
        runner: started; of any kind.
        task: takes one parameter, ``spec``.
        specs: the shards.
        window: shards handed out and not yet done.
        go_on: asked before each shard; after False no more are handed out.
        note: told the id of each task run that is started.
        on_done: called in this thread with each shard whose task has reached a final state.

    Returns:
        The futures of the shards handed out, all done, by the shards' names.
    """
    waiting, futures = deque(specs), dict[str, Future]()
    ended: queue.Queue[Spec] = queue.Queue()
    running = 0
    while True:
        while waiting and running < window and go_on():
            spec = waiting.popleft()
            future = runner.submit(task, {"spec": spec})
            futures[spec["shard"]] = future
            note(future.task_run_id)
            running += 1
            future.add_done_callback(lambda _, spec=spec: ended.put(spec))
        if not running:
            return futures
        try:
            spec = ended.get(timeout=POLL_S)
        except queue.Empty:
            continue
        running -= 1
        future = futures[spec["shard"]]
        future.wait()
        on_done(spec, future)
