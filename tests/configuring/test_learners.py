from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from qstar_core.adaptive.bandits import LinearChoice
from qstar_core.adaptive.episodes import Batch, Result, to_table
from qstar_core.config_adaptive import AdaptiveConfig
from qstar_core.configuring import learners
from qstar_core.errors import UserError
from tests.adaptive.bandits import Bandit, contextual

CONFIG = AdaptiveConfig(episodes=120, batch_size=20, logged=2, linucb=0.5, save_every=40)


def course(name: str, folder: Path, bandit: Bandit) -> tuple[learners.Course, np.ndarray]:
    questions, kinds = bandit.questions(30, 1)
    order = questions.sorted()
    assert order.ids == questions.ids
    folder.mkdir(parents=True, exist_ok=True)
    return learners.Course(name, bandit.space, order, CONFIG, 5, folder), kinds


@pytest.mark.parametrize("name", ["policy", "linucb"])
def test_what_is_saved_chooses_what_was_learnt(tmp_path: Path, name: str) -> None:
    bandit = contextual(0, widths=(4, 3))
    own, kinds = course(name, tmp_path / "kept", bandit)
    keeper = learners.Kept(own, lambda batch: bandit.collect(batch, kinds))
    told: list[int] = []
    chosen = learners.learn(own, keeper, tmp_path, lambda episode, utility: told.append(episode))
    assert told == list(range(20, 121, 20))
    loaded = learners.load_learner(name, tmp_path)
    assert (loaded.best(own.questions.embeddings) == chosen).all()
    assert loaded.space == bandit.space
    assert keeper.table().num_rows == 120


def test_a_kept_batch_is_not_tried_again(tmp_path: Path) -> None:
    bandit = contextual(0, widths=(4, 3))
    own, kinds = course("linucb", tmp_path / "kept", bandit)

    def never(batch: Batch) -> Sequence[Result]:
        raise AssertionError("tried again")

    first = learners.Kept(own, lambda batch: bandit.collect(batch, kinds))
    chosen = learners.learn(own, first, tmp_path, lambda *_: None)
    again = learners.learn(own, learners.Kept(own, never), tmp_path, lambda *_: None)
    assert (chosen == again).all()


def test_a_damaged_batch_is_tried_again(tmp_path: Path) -> None:
    bandit = contextual(0, widths=(4, 3))
    own, kinds = course("linucb", tmp_path / "kept", bandit)
    tried: list[int] = []

    def collect(batch: Batch) -> Sequence[Result]:
        tried.append(batch.first)
        return bandit.collect(batch, kinds)

    learners.learn(own, learners.Kept(own, collect), tmp_path, lambda *_: None)
    (own.kept / "episodes-linucb-0000040.parquet").write_bytes(b"PAR1 and no more")
    learners.learn(own, learners.Kept(own, collect), tmp_path, lambda *_: None)
    assert tried == [0, 20, 40, 60, 80, 100, 40]


def test_a_damaged_bandit_is_said(tmp_path: Path) -> None:
    (tmp_path / "linucb.json").write_text("{}")
    with pytest.raises(UserError, match="no bandit can be read"):
        LinearChoice.load(tmp_path, "linucb")


def test_a_curve_has_the_means_of_equal_parts() -> None:
    bandit = contextual(0, widths=(2,))
    questions, _ = bandit.questions(40, 1)
    rows = np.arange(40)
    from qstar_core.adaptive.baselines import random_actions

    seeds = rows.astype(np.uint64)
    batch = Batch(0, questions.ids, rows, seeds, 1.0, random_actions(bandit.space, seeds), "p")
    results = [Result(None if k == 0 else float(k >= 20), "x", tokens=10) for k in range(40)]
    points = learners.curve(to_table(bandit.space, batch, results), "policy", 0.01)
    assert [point["episodes"] for point in points] == list(range(2, 41, 2))
    assert [point["utility"] for point in points] == [-0.1] * 10 + [0.9] * 10


def test_one_factor_is_learnt_with_the_others_at_the_best() -> None:
    space = contextual(0, widths=(4, 3)).space
    alone = learners.space_for("only-f1", space, (2, 0))
    assert alone.widths == (1, 3)
    assert alone.configuration((0, 1)) == {"f0": 2, "f1": 1}
    assert learners.space_for("policy", space, (2, 0)) is space
    assert learners.space_for("linucb", space, None) is space
