from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qstar_core.domains import countdown
from qstar_core.errors import UserError
from qstar_core.label_stages import WHOLE_STEPS
from tests.test_planning import fitted, plan


def test_more_rounds_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    two, three = plan(tmp_path, **fitted(rounds=2)), plan(tmp_path, **fitted(rounds=3))
    for kind in ("labels", "qvm"):
        assert three[f"{kind}_1"] == two[f"{kind}_1"]
        assert three[f"{kind}_2"].key == two[kind].key
        assert len({three[n].key for n in (f"{kind}_1", f"{kind}_2", kind)}) == 3


def test_a_first_round_of_another_method_is_the_data_set_of_that_method(tmp_path: Path) -> None:
    usual = plan(tmp_path)
    started = plan(tmp_path, **fitted(start="best_of_rollouts"))
    assert started["labels_1"].key == usual["labels"].key
    assert started["qvm_1"].key == usual["qvm"].key
    assert started["labels"].key != plan(tmp_path, **fitted())["labels"].key
    alone = plan(tmp_path, **fitted(start="best_of_rollouts", rounds=1))
    assert alone["labels"].key == usual["labels"].key


def test_fields_of_fitted_q_are_in_no_key_of_another_method(tmp_path: Path) -> None:
    other = {"rounds": 5, "start": "best_of_rollouts", "candidates": 4}
    assert plan(tmp_path, labels=other) == plan(tmp_path)
    base = plan(tmp_path, **fitted())
    for name in ("candidates", "gamma"):
        changed = plan(tmp_path, **fitted(**{name: {"candidates": 4, "gamma": 0.9}[name]}))
        assert changed["labels"].key != base["labels"].key


@pytest.mark.parametrize(
    ("qvm", "changes"),
    [
        ({"score_dtype": "float32"}, True),
        ({"score_batch_size": 7}, False),
        ({"loss": "mse"}, True),
    ],
)
def test_what_decides_the_values_of_a_round_is_in_the_next_ones_key(
    tmp_path: Path, qvm: dict[str, Any], changes: bool
) -> None:
    base, other = plan(tmp_path, **fitted()), plan(tmp_path, qvm=qvm, **fitted())
    assert other["labels_1"] == base["labels_1"]
    assert (other["labels"].key != base["labels"].key) == changes


def test_a_label_shard_is_told_the_method_of_its_round(tmp_path: Path) -> None:
    stages = plan(tmp_path, **fitted(start="best_of_rollouts"))
    assert stages["labels_1"].rows["method"] == "best_of_rollouts"
    assert stages["labels"].rows["method"] == "fitted_q"


@pytest.mark.parametrize("kind", ["states", "stronger", "mcts", "binary_search"])
def test_how_a_pool_is_sampled_is_in_the_key_of_the_rollouts(tmp_path: Path, kind: str) -> None:
    rows = plan(tmp_path, pools=[{"kind": kind}])[f"pool_{kind}"].rows
    assert not {"seed", "max_new_tokens"} & set(rows)
    assert ("temperature" in rows) == (kind == "stronger")  # its own


def test_what_a_whole_step_of_so_many_tokens_is_decides_pools_of_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def versions() -> list[int | None]:
        stages = plan(tmp_path, pools=[{"kind": "states"}, {"kind": "mcts"}])
        return [stages[f"pool_{kind}"].rows.get("whole_steps") for kind in ("states", "mcts")]

    assert versions() == [None, None]
    monkeypatch.setattr(countdown, "STEP_TOKENS", 24, raising=False)  # as mbpp has it
    assert versions() == [None, WHOLE_STEPS]


@pytest.mark.parametrize(
    ("pool", "decides"),
    [
        ({"kind": "states"}, False),
        ({"kind": "states", "max_samples": 9}, True),
        ({"kind": "stronger"}, False),
        ({"kind": "stronger", "temperature": 0.5, "max_samples": 9}, True),
        ({"kind": "mcts"}, True),
        ({"kind": "binary_search"}, True),
    ],
)
def test_a_grader_that_decides_what_is_sampled_is_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: dict[str, Any], decides: bool
) -> None:
    name = f"pool_{pool['kind']}"
    base = plan(tmp_path, pools=[pool])
    monkeypatch.setattr(countdown, "GRADER_VERSION", "next")
    graded = plan(tmp_path, pools=[pool])
    assert (graded[name].key != base[name].key) == decides
    assert graded["rollouts"].key == base["rollouts"].key
    assert graded["labels"].key != base["labels"].key


@pytest.mark.parametrize(
    ("method", "kind"),
    [("mcts_pool", "mcts"), ("stronger_policy", "stronger"), ("binary_search", "binary_search")],
)
def test_a_method_without_its_pool_is_refused(tmp_path: Path, method: str, kind: str) -> None:
    labels = {"method": method}
    with pytest.raises(UserError, match=f"a pool of kind {kind}") as caught:
        plan(tmp_path, labels=labels)
    assert f"pools: [{{kind: {kind}}}]" in caught.value.next_step
    assert plan(tmp_path, labels=labels, pools=[{"kind": kind}])
