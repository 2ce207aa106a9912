from __future__ import annotations

import io
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from flows import explain
from qstar_core.config import EvaluationConfig, RunConfig, SearchConfig
from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.evaluation.run import evaluate
from qstar_core.store import dataset
from tests.evaluation.examples import NoisyPlayer, NoisyValue
from tests.flows.conftest import Finished, Qstar, published


def node(number: int, parent: int, text: str, **fields: object) -> dict[str, object]:
    empty = {"q": None, "reward": None, "g": 0.0, "h": None, "f": None, "order": -1}
    flags = {"tokens": 0, "terminal": False, "chosen": False, "correct": None, "logprob": -0.5}
    return {"node": number, "parent": parent, "text": text, **empty, **flags, **fields}


NODES = [
    node(0, -1, "3 2 > 6\n", order=0, chosen=True),
    node(
        1,
        0,
        "3 * 2 = 6 | 6 > 6",
        q=0.9,
        g=1.0,
        h=0.9,
        f=1.9,
        order=1,
        terminal=True,
        chosen=True,
        correct=True,
    ),
    node(2, 0, "3 + 2 = 5\n", q=0.1, g=1.0, h=0.1, f=1.1, order=2),
    *(node(3 + k, 2, f"[{k}]", q=0.0, g=1.0, h=0.0, f=1.0 - k / 10) for k in range(6)),
]


@pytest.fixture
def searches(tmp_path: Path) -> str:
    """A published evaluation of two problems and two methods."""
    uri = str(tmp_path / "evaluation" / "k")
    rows = [
        {
            "problem_id": f"{letter}{'0' * 23}",
            "prompt": f"{prompt}\n",
            "method": method,
            "algorithm": "astar" if method == "A*" else method,
            "outcome": "correct",
            "answer": "6",
            "reason": "",
            "policy_tokens": 12,
            "value_calls": 3,
            "expansions": 2,
            "stop_reason": "finished",
            "nodes": NODES if method == "A*" else [],
        }
        for letter, prompt in (("a", "3 2 > 6"), ("b", "3 3 > 6"))
        for method in ("greedy", "A*")
    ]
    return published(uri, pa.Table.from_pylist(rows), kind="evaluation", uri=uri, figures={})


@pytest.fixture
def comparison(searches: str, tmp_path: Path) -> str:
    """The same at two budgets."""
    rows = explain.scan(searches).collect().to_dicts()
    uri = str(tmp_path / "comparison" / "k")
    swept = [{**row, "budget": b, "policy_tokens": int(b)} for b in (100.0, 200.0) for row in rows]
    head = {"kind": "comparison", "uri": uri, "figures": {}}
    config = {"comparison": {"tokens": [100, 200]}}
    return published(uri, pa.Table.from_pylist(swept), **head, config=config)


def shown(row: dict[str, object], everything: bool = False) -> str:
    out = io.StringIO()
    explain.show(Console(file=out, width=120), row, everything)
    return out.getvalue()


@pytest.mark.parametrize("asked", ["1", "a00", "3 2 > 6", "2 >"])
def test_problem_by_number_id_or_text(searches: str, asked: str) -> None:
    row = explain.find(searches, asked, None)
    assert (row["prompt"], row["method"]) == ("3 2 > 6\n", "A*")


def test_tree_in_the_order_of_f_with_the_numbers(searches: str) -> None:
    text = shown(explain.find(searches, "1", None))
    assert "Answer     6: correct" in text
    assert "12 policy tokens, 3 value calls, 2 expansions; ended: finished" in text
    assert "#1 3 * 2 = 6 | 6 > 6 * right  f 1.900, g 1.000, h 0.900, q 0.900, log p -0.500" in text
    assert text.index("#1 3 * 2") < text.index("#2 3 + 2") < text.index("[0]") < text.index("[3]")
    assert "[4]" not in text
    assert "2 more" in text
    assert "[5]" in shown(explain.find(searches, "1", None), everything=True)


def test_the_reasons_stand_below_the_tree(searches: str) -> None:
    text = " ".join(shown(explain.find(searches, "1", None)).split())
    assert "the only trajectory that came to an end, with f = 1.900" in text
    assert text.endswith("The returned trajectory is right.")


def test_data_sets_without_grades_are_shown_too() -> None:
    bare = [{k: v for k, v in n.items() if k not in ("correct", "logprob")} for n in NODES]
    row = {"prompt": "3 2 > 6\n", "method": "A*", "algorithm": "astar", "problem_id": "a" * 24}
    row |= {"answer": "6", "outcome": "correct", "reason": "", "stop_reason": "finished"}
    text = shown({**row, "policy_tokens": 1, "value_calls": 1, "expansions": 1, "nodes": bare})
    assert "#1 3 * 2 = 6 | 6 > 6 *  f 1.900" in text and "log p -" not in text


@pytest.mark.parametrize("place", ["", "report/r", "evaluation/k"])
def test_run_may_be_the_output_folder_or_a_report(
    searches: str, place: str, tmp_path: Path
) -> None:
    report = str(tmp_path / "report" / "r")
    dataset.publish(report, {"kind": "report", "inputs": {"evaluation": "k"}}, [])
    found = explain.searches(str(tmp_path / place) if place else str(tmp_path))
    assert Path(found) == Path(searches)


def test_the_newest_evaluation_of_an_output_folder_is_taken(tmp_path: Path) -> None:
    for key, made in (("a", "2026-01-02"), ("b", "2026-01-03"), ("c", "2026-01-01")):
        uri = str(tmp_path / "evaluation" / key)
        dataset.publish(uri, {"kind": "evaluation", "created": made}, [])
    assert explain.searches(str(tmp_path)) == str(tmp_path / "evaluation" / "b")


@pytest.mark.parametrize("stage", ["comparison", "timing"])
def test_a_folder_with_a_comparison_alone_is_explained(
    comparison: str, stage: str, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "evaluation")
    (tmp_path / "comparison").rename(tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / stage)
    out = io.StringIO()
    explain.explain(Console(file=out, width=200), str(tmp_path), "1", None, None, False, False)
    assert out.getvalue().startswith(f"Data set   {tmp_path / stage / 'k'}\n")
    assert "(A*, budget 200, problem a" in out.getvalue()


def test_a_budget_is_one_of_a_comparison_though_there_is_an_evaluation(
    comparison: str, searches: str, tmp_path: Path
) -> None:
    assert explain.searches(str(tmp_path)) == searches
    assert explain.searches(str(tmp_path), 100.0) == comparison


def test_a_budget_of_seconds_is_one_of_the_sweep_over_seconds(
    comparison: str, tmp_path: Path
) -> None:
    rows = explain.scan(comparison).collect().with_columns(budget=0.05).unique("problem_id")
    uri = str(tmp_path / "timing" / "k")
    config = {"comparison": {"tokens": [100, 200], "seconds": [0.05]}}
    published(uri, rows.to_arrow(), kind="timing", uri=uri, figures={}, config=config)
    assert explain.searches(str(tmp_path), 0.05) == uri
    assert explain.searches(str(tmp_path), 100.0) == comparison
    assert explain.searches(str(tmp_path), 7.0) == comparison  # which says what there is
    report = str(tmp_path / "comparison_report" / "r")
    inputs = {"comparison": "k", "timing": "k"}
    dataset.publish(report, {"kind": "comparison_report", "uri": report, "inputs": inputs}, [])
    assert explain.searches(report, 0.05) == uri
    assert explain.searches(report, 100.0) == explain.searches(report) == comparison


def test_the_newest_comparison_that_has_the_budget_is_taken(
    comparison: str, tmp_path: Path
) -> None:
    """Two configurations share a folder."""
    uri = str(tmp_path / "comparison" / "newer")
    rows = explain.scan(comparison).collect()
    rows = rows.with_columns(rows["budget"] * 8)
    head = {"kind": "comparison", "uri": uri, "figures": {}, "created": "9999"}
    config = {"comparison": {"tokens": [800, 1600]}}
    published(uri, rows.to_arrow(), **head, config=config)
    assert explain.searches(str(tmp_path), 100.0) == comparison
    assert explain.searches(str(tmp_path), 800.0) == explain.searches(str(tmp_path), 7.0) == uri


def test_a_state_that_was_taken_up_again_is_marked(searches: str) -> None:
    late = node(9, 0, "3 - 2 = 1\n", q=0.2, g=1.0, h=0.2, f=1.2, order=4)
    row = explain.find(searches, "1", None)
    text = shown({**row, "nodes": [*NODES, late]})
    assert "#0 3 2 > 6  taken up again\n" in text
    assert "a number that is missing is a state that was taken up again" in " ".join(text.split())
    assert "taken up again" not in shown(row)


@pytest.mark.parametrize(
    ("drawn", "taken"),
    [
        (("greedy",), "greedy"),
        (("greedy", "A*"), "A*"),
        (("greedy", "beam"), "greedy"),
        ((), "A*"),
    ],
)
def test_without_a_method_astar_is_taken_else_the_first_with_a_tree(
    searches: str, drawn: tuple[str, ...], taken: str, tmp_path: Path
) -> None:
    uri = str(tmp_path / "evaluation" / "other")
    rows = explain.scan(searches).collect().to_dicts()
    rows += [{**r, "method": "beam", "algorithm": "beam"} for r in rows if r["method"] == "A*"]
    trees = {(r["problem_id"], r["method"]): r["nodes"] or NODES for r in rows}
    for row in rows:
        kept = row["method"] in drawn or row["prompt"] != "3 2 > 6\n"
        row["nodes"] = trees[row["problem_id"], row["method"]] if kept else []
    published(uri, pa.Table.from_pylist(rows), kind="evaluation")
    assert explain.find(uri, "1", None)["method"] == taken
    names = [row["method"] for row in explain.found(uri, "1", None)]
    assert names[1:] == [name for name in ("greedy", "A*", "beam") if name != taken]
    assert explain.find(uri, "2", None)["method"] == "A*"


EVIL = "\x1b]0;title\x07[red]\x9b2J"


def test_nothing_that_a_model_wrote_is_obeyed(evaluated: str) -> None:
    row = explain.find(evaluated, "1", None)
    for node in row["nodes"]:
        node["text"] = f"{EVIL} {node['node']}"
    row |= {"prompt": f"{EVIL}\n", "answer": EVIL, "reason": EVIL, "steps": [EVIL]}
    out = io.StringIO()
    console = Console(file=out, width=400, force_terminal=True, color_system=None)
    explain.show(console, row, everything=True)
    text = out.getvalue()
    assert text.count(r"\x1b]0;title\x07[red]\x9b2J") >= 3 + len(row["nodes"])
    assert not any(character in text for character in "\x1b\x07\x9b")


def test_the_differences_of_a_replay_are_shown_and_not_obeyed(
    evaluated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "differences", lambda row, result: [f"answer: {EVIL}"])
    text = explained(evaluated, again=True)
    assert r"  answer: \x1b]0;title\x07[red]\x9b2J" in text and "\x1b" not in text


def test_a_folder_without_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no complete data set at"):
        explain.find(explain.searches(str(tmp_path)), "1", None)


def test_the_other_methods_are_named(searches: str) -> None:
    def printed(method: str | None) -> str:
        out = io.StringIO()
        console = Console(file=out, width=200)
        explain.explain(console, searches, "1", method, None, False, False)
        return out.getvalue()

    assert "Other methods of this problem, for --method: greedy\n" in printed(None)
    assert "--method" not in printed("A*")


@pytest.mark.parametrize(
    ("algorithm", "note"),
    [
        ("mcts", "n 2, V 1.900  value 1.900"),
        ("beam", "pruned, score 1.000"),
        ("dvts", "kept, score 1.100"),
    ],
)
def test_each_algorithm_has_its_own_words(searches: str, algorithm: str, note: str) -> None:
    text = shown({**explain.find(searches, "1", None), "algorithm": algorithm})
    assert note.replace("  ", ", ") in text and "h = max" not in text
    assert "= rewards + lambda Q" in " ".join(text.split()) and " g 1" not in text


def test_search_without_a_tree(searches: str) -> None:
    assert "no tree" in shown(explain.find(searches, "2", "greedy"))


@pytest.mark.parametrize(
    ("problem", "method", "what"),
    [
        ("9", None, "there is no problem 9"),
        ("> 6", None, "2 problems fit '> 6': 3 2 > 6; 3 3 > 6"),
        ("1", "beam", "no method 'beam'"),
    ],
)
def test_what_is_not_there(searches: str, problem: str, method: str | None, what: str) -> None:
    with pytest.raises(UserError) as caught:
        explain.find(searches, problem, method)
    assert what in caught.value.what
    assert caught.value.next_step


def test_a_comparison_is_explained_at_one_budget(comparison: str) -> None:
    text = shown(explain.find(comparison, "1", None))
    assert "(A*, budget 200, problem a" in text and "200 policy tokens" in text
    assert "(greedy, budget 100, " in shown(explain.find(comparison, "1", "greedy", 100.0))


def test_a_budget_that_is_not_there(comparison: str, searches: str) -> None:
    with pytest.raises(UserError, match="no budget 300") as caught:
        explain.find(comparison, "1", None, 300.0)
    assert caught.value.next_step == "one of: 100, 200"
    with pytest.raises(UserError, match="one budget only"):
        explain.find(searches, "1", None, 100.0)


METHOD = SearchConfig(name="A*", algorithm="astar")


@pytest.fixture
def evaluated(tmp_path: Path) -> str:
    """A published evaluation of one problem, searched for real."""
    uri = str(tmp_path / "evaluation" / "k")
    config = RunConfig(evaluation=EvaluationConfig(methods=[METHOD], baseline="A*"))
    problems = [countdown.make_problem([13, 10, 9, 4], 24)]
    table, _ = evaluate(problems, METHOD, NoisyPlayer(), NoisyValue(), config, lambda *_: None)
    asked = config.model_dump(mode="json")
    return published(uri, table, kind="evaluation", config=asked, figures={})


def explained(run: str, again: bool) -> str:
    out = io.StringIO()
    explain.explain(Console(file=out, width=200), run, "1", None, None, False, again)
    return out.getvalue()


def test_a_search_is_replayed(evaluated: str, tmp_path: Path) -> None:
    text = explained(str(tmp_path), again=True)
    assert text.startswith(f"Data set   {evaluated}")
    row = explain.find(evaluated, "1", None)
    nodes = len(row["nodes"])
    assert f"same answer, {row['expansions']} expansions" in text and f"{nodes} nodes." in text
    assert "Replayed" not in explained(evaluated, again=False)


def test_a_replay_that_differs_says_where(evaluated: str) -> None:
    row = explain.find(evaluated, "1", None)
    lines = explain.replayed(evaluated, {**row, "policy_tokens": 1})
    assert lines[1:] == [
        "Replayed without a model, with differences:",
        f"  policy_tokens: {row['policy_tokens']}, stored 1",
    ]


def test_a_method_that_the_manifest_does_not_know(evaluated: str) -> None:
    row = explain.find(evaluated, "1", None)
    with pytest.raises(UserError, match=r"does not say how .beam. searched"):
        explain.replayed(evaluated, {**row, "method": "beam"})


def test_on_the_command_line(finished: Finished, qstar: Qstar) -> None:
    for method in ("best-of-N", "A*"):
        result = qstar("explain", finished.out, "2", "--method", method, "--replay")
        assert result.returncode == 0, result.stderr
        assert "Replayed without a model: same answer" in result.stdout


@pytest.mark.parametrize("number", ["0", "99"])
def test_a_short_number_is_a_place_and_nothing_else(searches: str, number: str) -> None:
    with pytest.raises(UserError, match=f"there is no problem {number}") as caught:
        explain.find(searches, number, None)
    assert caught.value.next_step.startswith("give a number from 1 to ")
