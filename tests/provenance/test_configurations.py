from __future__ import annotations

from typing import Any

from qstar_core.config import RunConfig
from qstar_core.provenance.configurations import changed, data_sets
from qstar_core.provenance.lineage import Node


def manifest(rows_from: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    whole = RunConfig.model_validate(config).model_dump(mode="json")
    return {"config": whole, "rows_from": rows_from or {"policy": "p", "qvm": "q"}}


def test_what_changes_no_row_is_no_difference() -> None:
    this = manifest(name="a", out="x", runtime={"workers": 3}, card={"licence": "mit"})
    assert changed(this, manifest(name="b", out="y")) == []


def test_a_field_is_named_with_both_values() -> None:
    [row] = changed(manifest(labels={"method": "mean_of_rollouts"}), manifest())
    names = {"this": "mean_of_rollouts", "other": "best_of_rollouts"}
    assert row == {"field": "labels.method", **names}


def test_the_day_in_the_name_of_a_file_is_no_difference() -> None:
    names = [f"s3://b/{day}/test.jsonl" for day in ("2025-06-01", "2025-06-02")]
    this, other = (manifest(domain={"name": "gsm8k", "test_file": name}) for name in names)
    assert changed(this, other) == []
    moved = manifest(domain={"name": "gsm8k", "test_file": "s3://c/2025-06-01/test.jsonl"})
    assert [row["field"] for row in changed(moved, other)] == ["domain.test_file"]


def test_other_weights_under_one_path_are_a_difference() -> None:
    this = manifest({"policy": "b", "qvm": "q"}, policy={"path": "/m"})
    [row] = changed(this, manifest({"policy": "a", "qvm": "q"}, policy={"path": "/m"}))
    assert row == {"field": "policy.weights", "this": "b", "other": "a"}
    trained = manifest({"policy": "p", "qvm": "other key"})
    assert changed(trained, manifest()) == []  # trained by the run: its labels differ, or nothing


def test_manifests_of_another_version_are_compared_as_they_are() -> None:
    old = manifest()
    old["config"]["gone"] = 1
    assert changed(manifest(), old) == [{"field": "gone", "this": "\N{EN DASH}", "other": "1"}]


def test_data_sets_are_named_from_the_problems_on() -> None:
    def run(labels: str) -> Node:
        problems = Node("problems", "", "p", "complete")
        made = Node("labels", "", labels, "complete", inputs=[problems])
        return Node("evaluation", "", f"e{labels}", "complete", inputs=[made, problems])

    rows = data_sets(run("2"), run("1"))
    assert [(row["stage"], row["same"]) for row in rows] == [
        ("problems", True),
        ("labels", False),
        ("evaluation", False),
    ]
