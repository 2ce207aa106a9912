"""What a person sees while a flow runs: one bar per stage, with counts, rate and time left.

A stage's bar is the sum over its shards, which report from several threads. Where standard output
is no terminal, a plain line is written now and then instead.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from flows.tables import say

log = logging.getLogger("qstar_core.progress")

LINE_INTERVAL_S = 15.0


def count(rows: int) -> str:
    """A number of rows in words."""
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


@dataclass
class _Shard:
    done: float = 0.0
    total: float = 0.0


@dataclass
class _Stage:
    """The shards of the running stage, and what was on disk when it began."""

    name: str
    unit: str
    shards: dict[str, _Shard]
    start: float = field(default_factory=time.monotonic)
    first: float | None = None  # when the first progress came in: workers load models before
    before: float = 0.0
    note: str = ""
    last_line: float = 0.0

    @property
    def done(self) -> float:
        return sum(s.done for s in self.shards.values())

    @property
    def total(self) -> float:
        return sum(s.total for s in self.shards.values())

    @property
    def rate(self) -> float:
        """Units per second since the first came in; those found on disk do not count."""
        since = self.start if self.first is None else self.first
        return max(0.0, self.done - self.before) / max(1e-9, time.monotonic() - since)


class _Rate(ProgressColumn):
    """Counts and units per second."""

    def render(self, task: Task) -> Text:
        total = f"{task.total:,.0f}" if task.total is not None else "?"
        text = f"{task.completed:,.0f}/{total} {task.fields['unit']}"
        speed = task.finished_speed or task.speed
        return Text(f"{text}, {speed:,.0f}/s" if speed else text)


class StageProgress:
    """Bars or lines; `on_event` may be called from any thread."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._lock = threading.Lock()
        self._stage: _Stage | None = None
        self._bars: Progress | None = None
        self._bar: Any = None

    def __enter__(self) -> StageProgress:
        if self.console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<11}", markup=False),
                BarColumn(bar_width=24),
                _Rate(),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
                console=self.console,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def already_there(self, stage: str, rows: int) -> None:
        """A stage whose data set is complete."""
        self._print(f"{stage:<11} already there{f' ({count(rows)})' if rows else ''}")

    def waiting(self, stage: str, holder: str) -> None:
        """A stage that another run is making."""
        self._print(f"{stage:<11} another run is making it: {holder}; waiting")

    def begin(
        self,
        stage: str,
        shards: dict[str, bool],
        estimate: dict[str, Any],
        sizes: Mapping[str, float] | None = None,
    ) -> None:
        """Starts a stage.

        Args:
            stage: its name.
            shards: name of each shard to whether it is finished already.
            estimate: of `pipeline.estimate`: "units" and "unit" of the whole stage.
            sizes: what each shard is of the stage, in any unit; None is all alike.
        """
        known = sizes if sizes and sum(sizes.values()) else dict.fromkeys(shards, 1.0)
        unit = estimate["units"] / max(1e-9, sum(known.values()))
        states = {
            name: _Shard(unit * known[name] if done else 0.0, unit * known[name])
            for name, done in shards.items()
        }
        with self._lock:
            self._stage = _Stage(stage, estimate["unit"], states)
            self._stage.before = self._stage.done
            kept = sum(shards.values())
            if self._bars is not None:
                self._bar = self._bars.add_task(
                    stage,
                    total=self._stage.total,
                    completed=int(self._stage.done),
                    unit=estimate["unit"],
                    note="",
                )
        if kept:
            self._print(f"{stage:<11} {kept} of {len(shards)} shards already there")
        elif self._bars is None:
            self._print(f"{stage:<11} started: {estimate['units']:,} {estimate['unit']}")

    def on_event(self, spec: dict[str, Any], event: dict[str, Any]) -> None:
        """Takes a worker's progress event, or ``{"event": "finished"}`` of a shard."""
        with self._lock:
            stage = self._stage
            shard = stage.shards.get(spec["shard"]) if stage is not None else None
            if stage is None or shard is None:
                return
            if stage.first is None and event["event"] == "progress":
                stage.first = time.monotonic()
                stage.before += float(event["done"])
            if event["event"] == "finished":
                shard.done = shard.total
            else:
                shard.done, shard.total = float(event["done"]), float(event["total"])
                stage.unit, stage.note = event["unit"], event.get("note", "")
            self._show(stage)

    def end(self, rows: int) -> None:
        """The running stage is published."""
        with self._lock:
            stage, self._stage = self._stage, None
        if stage is None:
            return
        if self._bars is not None:
            self._bars.update(self._bar, completed=stage.total, total=stage.total, note="")
        else:
            seconds = time.monotonic() - stage.start
            made = f": {count(rows)}" if rows else ""
            self._print(f"{stage.name:<11} finished{made} in {seconds:,.0f} s")

    def say(self, text: str) -> None:
        """A line between two stages."""
        self._print(text)

    def remark(self, stage: str, text: str) -> None:
        """Something to know of a stage."""
        self._print(f"{stage:<11} {text}")

    def _show(self, stage: _Stage) -> None:
        if self._bars is not None:
            self._bars.update(
                self._bar, completed=stage.done, total=stage.total, unit=stage.unit, note=stage.note
            )
            return
        now = time.monotonic()
        if now - max(stage.last_line, stage.start) < LINE_INTERVAL_S:
            return
        stage.last_line = now
        left = f", {(stage.total - stage.done) / stage.rate:,.0f} s left" if stage.rate else ""
        self._print(
            f"{stage.name:<11} {stage.done:,.0f}/{stage.total:,.0f} {stage.unit}, "
            f"{stage.rate:,.{0 if stage.rate >= 10 else 1}f}/s{left}"
        )

    def _print(self, text: str) -> None:
        say(self.console, text)


class LoggedProgress(StageProgress):
    """The same lines in the log of the flow run, for runs that a Prefect worker starts.

    Standard output of such a run is a pipe to the worker, which breaks when that is killed.
    """

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))

    def _print(self, text: str) -> None:
        log.info(text)
