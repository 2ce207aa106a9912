from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.progress import TextColumn

from flows import progress
from flows.progress import LoggedProgress, StageProgress

ESTIMATE = {"units": 100, "unit": "rollouts"}


def event(done: int, total: int) -> dict[str, Any]:
    return {"event": "progress", "done": done, "total": total, "unit": "rollouts", "note": "n"}


def make(terminal: bool) -> tuple[StageProgress, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, legacy_windows=False)
    return StageProgress(console), out


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)
    show, out = make(terminal=False)
    with show:
        show.already_there("problems", 2500)
        show.begin("rollouts", {"a": False, "b": True}, ESTIMATE)
        show.on_event({"shard": "a"}, event(25, 50))
        show.on_event({"shard": "a"}, {"event": "finished"})
        show.end(96)
    lines = out.getvalue().splitlines()
    assert "problems    already there (2,500 rows)" in lines
    assert "rollouts    1 of 2 shards already there" in lines
    assert any(line.startswith("rollouts    75/100 rollouts, ") for line in lines)
    assert any("s left" in line for line in lines)
    assert lines[-1].startswith("rollouts    finished: 96 rows in ")


def test_a_wait_for_another_run_is_one_line() -> None:
    show, out = make(terminal=False)
    with show:
        show.waiting("rollouts", "pid 12 on box since 2026-01-02T03:04:05+00:00")
    (line,) = out.getvalue().splitlines()
    assert line.startswith("rollouts    another run is making it: pid 12 on box since 2026-01-02")


def test_few_lines_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    show, out = make(terminal=False)
    with show:
        show.begin("rollouts", {"a": False}, ESTIMATE)
        assert show._stage is not None
        begin = show._stage.start
        for done in range(100):
            now[0] = begin + 0.1 * done
            show.on_event({"shard": "a"}, event(done, 100))
        assert len(out.getvalue().splitlines()) == 1
        now[0] = begin + progress.LINE_INTERVAL_S
        show.on_event({"shard": "a"}, event(99, 100))
    assert len(out.getvalue().splitlines()) == 2


def test_bar_on_a_terminal_counts_all_shards() -> None:
    show, out = make(terminal=True)
    with show:
        show.begin("rollouts", {"a": False, "b": False}, ESTIMATE)
        show.on_event({"shard": "a"}, event(30, 60))  # the shard knows its size better
        assert show._stage is not None
        assert (show._stage.done, show._stage.total) == (30, 110)
        show.on_event({"shard": "a"}, {"event": "finished"})
        show.on_event({"shard": "b"}, {"event": "finished"})
        show.end(110)
    assert "110/110 rollouts" in out.getvalue()


def test_what_was_on_disk_is_not_counted_as_speed() -> None:
    show, _ = make(terminal=False)
    with show:
        show.begin("rollouts", {"a": True, "b": False}, ESTIMATE)
        assert show._stage is not None
        assert show._stage.done == 50
        assert show._stage.rate == 0


def test_shards_of_unlike_sizes_have_their_share_from_the_start() -> None:
    show, _ = make(terminal=False)
    with show:
        show.begin(
            "rollouts", {"a": True, "b": False}, {**ESTIMATE, "units": 60}, {"a": 50, "b": 10}
        )
        assert show._stage is not None
        assert (show._stage.done, show._stage.total) == (50, 60)
        show.on_event({"shard": "b"}, event(3, 10))
        assert (show._stage.done, show._stage.total) == (53, 60)


def test_the_loading_of_models_is_not_counted_as_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    show, _ = make(terminal=False)
    with show:
        show.begin("rollouts", {"a": False}, ESTIMATE)
        for now[0], done in ((20.0, 10), (25.0, 60)):
            show.on_event({"shard": "a"}, event(done, 100))
        assert show._stage is not None
        assert show._stage.rate == 10


def test_rows_are_counted_in_words() -> None:
    show, out = make(terminal=False)
    with show:
        show.already_there("report", 0)
        show.already_there("labels", 1)
    assert out.getvalue().splitlines() == [
        "report      already there",
        "labels      already there (1 row)",
    ]


def test_events_come_from_many_threads() -> None:
    show, _ = make(terminal=True)
    names = [str(n) for n in range(8)]
    with show:
        show.begin("rollouts", dict.fromkeys(names, False), ESTIMATE)

        def work(name: str) -> None:
            for done in range(1, 101):
                show.on_event({"shard": name}, event(done, 100))

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert show._stage is not None
        assert show._stage.done == show._stage.total == 800


def test_late_events_of_another_stage_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)
    show, out = make(terminal=False)
    with show:
        show.on_event({"shard": "a"}, event(1, 2))
        assert show._stage is None
        show.begin("rollouts", {"a": False}, ESTIMATE)
        show.on_event({"shard": "z"}, event(1, 2))
        assert show._stage is not None
        assert (show._stage.done, show._stage.total, show._stage.first) == (0, 100, None)
        show.end(0)
        show.on_event({"shard": "a"}, event(1, 2))
        assert show._stage is None
    begun, ended = out.getvalue().splitlines()
    assert begun == "rollouts    started: 100 rollouts"
    assert ended.startswith("rollouts    finished in ")


@pytest.mark.parametrize("name", ["majority [q]", "[/x]"])
def test_a_note_is_shown_as_it_is(name: str) -> None:
    show, out = make(terminal=True)
    with show:
        show.begin("evaluation", {"a": False}, ESTIMATE)
        show.on_event({"shard": "a"}, {**event(1, 2), "note": f"{name}, 1 of 2"})
        show.end(2)
        assert show._bars is not None
        columns = [c for c in show._bars.columns if isinstance(c, TextColumn)]
        [task] = show._bars.tasks
        task.fields["note"] = name
        assert [column.render(task).plain for column in columns][-1] == name
    assert "evaluation" in out.getvalue()


def test_a_remark_is_shown_and_not_obeyed() -> None:
    show, out = make(terminal=False)
    show.remark("rollouts", "for example \x1b[2J [red]x")
    assert out.getvalue() == "rollouts    for example \\x1b[2J [red]x\n"


def test_a_run_without_a_console_says_the_same_in_its_log(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO", logger="qstar_core.progress"), LoggedProgress() as show:
        show.already_there("problems", 2500)
        show.begin("rollouts", {"a": False}, ESTIMATE)
        show.end(96)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "problems    already there (2,500 rows)"
    assert lines[-1].startswith("rollouts    finished: 96 rows in ")
    assert capsys.readouterr().out == ""
