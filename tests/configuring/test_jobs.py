from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qstar_core import pipeline
from qstar_core.adaptive.episodes import space_of
from qstar_core.adaptive.policy import ConfigPolicy
from qstar_core.domains import problem_sets
from qstar_core.errors import UserError
from qstar_core.store import dataset
from tests.configuring.killed import SHORT, learn
from tests.configuring.runs import METHODS, best_word, config_of
from tests.provenance.runs import make

ROOT = Path(__file__).parents[2]
ALL = [
    *METHODS,
    {"name": "linucb", "algorithm": "adaptive", "choose": "linucb"},
    *(
        {"name": f"only {name}", "algorithm": "adaptive", "choose": "factor", "factor": name}
        for name in ("word", "temperature")
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The manifests of a run with all learners and methods, by stage."""
    out = tmp_path_factory.mktemp("adaptive") / "out"
    config = config_of(out, ablations=True, linucb=0.5)
    methods = [config.evaluation.methods[0].model_validate(method) for method in ALL]
    chosen = config.evaluation.model_copy(update={"methods": methods})
    config = config.model_copy(update={"evaluation": chosen})
    stages = make(config, "report")
    found = {name: dataset.read_manifest(stage.uri) for name, stage in stages.items()}
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def test_logged_episodes_are_uniform_and_whole(made: dict[str, dict[str, Any]]) -> None:
    episodes = made["episodes"]
    assert episodes["rows"] == 120 * 6 and len(episodes["shards"]) == 2
    frame = pl.read_parquet(dataset.data_files(episodes["uri"]))
    assert frame["episode_id"].n_unique() == 720
    assert frame["episode_index"].to_list() == list(range(720))
    drawn = {round(p[0] * p[1], 9) for p in frame["propensities"]}
    assert drawn == {round(1 / 6, 9)}
    assert frame["tokens"].min() > 0 and not frame["reward"].null_count()
    figures = episodes["figures"]
    assert figures["reward"] == pytest.approx(frame["reward"].mean(), abs=1e-5)
    assert sum(figures["outcomes"].values()) == 720
    assert figures["tokens"] == frame["tokens"].sum()


def test_every_learner_has_its_episodes_and_its_files(made: dict[str, dict[str, Any]]) -> None:
    names = [entry["name"] for entry in made["adaptive"]["files"]]
    learners = ("policy", "only-word", "only-temperature", "linucb")
    for name in learners:
        assert {f"{name}.safetensors", f"{name}.json", f"part-{name}.parquet"} <= set(names)
    assert made["adaptive"]["rows"] == 1500 * len(learners)
    rows = made["adaptive"]["figures"]["learners"]
    assert [row["learner"] for row in rows] == list(learners)
    assert rows[0]["last"] > rows[0]["first"] + 0.2  # it learns
    assert len(made["adaptive"]["figures"]["curve"]) == 20 * len(learners)
    told = {row["policy"] for row in made["adaptive"]["figures"]["estimates"]}
    assert told == {"random", "fixed", *learners}


def test_the_learners_find_what_is_right(made: dict[str, dict[str, Any]]) -> None:
    chosen = made["adaptive"]["figures"]["chosen"]["policy"]
    policy = ConfigPolicy.load(Path(made["adaptive"]["uri"]))
    assert policy.space.names == ("word", "temperature")
    assert chosen["temperature"]["0.0"] > 80
    assert made["adaptive"]["figures"]["best_fixed"]["temperature"] == 0.0
    assert min(chosen["word"]["red"], chosen["word"]["blue"]) > 30
    alone = made["adaptive"]["figures"]["chosen"]["only-temperature"]
    assert alone["temperature"]["0.0"] > 80 and len(alone["word"]) == 1
    told = {row["policy"]: row["utility"] for row in made["adaptive"]["figures"]["estimates"]}
    assert told["random"] < 0.3 < told["fixed"] - 0.2
    assert min(told["only-word"], told["linucb"]) > told["fixed"] + 0.1


def test_the_table_has_all_methods(
    made: dict[str, dict[str, Any]],
) -> None:
    table = {row["method"]: row for row in made["evaluation"]["figures"]["comparison"]}
    assert list(table) == [method["name"] for method in ALL]
    accuracy = {name: row["accuracy"] for name, row in table.items()}
    assert accuracy["oracle"] == 1.0
    for name in ("fixed", "adaptive", "linucb", "only word"):
        assert accuracy[name] > accuracy["random"] + 0.2, accuracy
    assert all(row["n"] == 40 and not row["failures"] for row in table.values())
    shards = {s["shard"]: s["figures"] for s in made["evaluation"]["shards"]}
    assert all("chosen" in figures for figures in shards.values())
    frame = pl.read_parquet(dataset.data_files(made["evaluation"]["uri"]))
    assert frame["problem_id"].n_unique() == 40
    assert set(frame["algorithm"]) == {"best_of_n"}  # one sample
    assert frame["prompt"].str.contains("^(red|blue|green) ").all()


def test_the_space_is_in_the_files(made: dict[str, dict[str, Any]]) -> None:
    import pyarrow.parquet as pq

    files = dataset.data_files(made["adaptive"]["uri"])
    names = {space_of(pq.read_schema(file)).names for file in files}
    assert names == {("word", "temperature")}


@pytest.mark.parametrize("learner", ["policy", "linucb"])
def test_a_killed_training_goes_on_with_equal_weights_and_episodes(
    tmp_path: Path, learner: str
) -> None:
    begun, out = tmp_path / "begun" / "out", tmp_path / "out"
    for folder in (begun, out):
        make(config_of(folder, train=15, test=3, **SHORT), "episodes")
    command = [sys.executable, "-m", "tests.configuring.killed", str(out), learner, "120"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    tried, receipt = learn(out, learner)
    assert tried[0] == 120  # what was tried before is not tried again
    straight, other = learn(begun, learner)
    assert straight[0] == 0 and len(straight) == 10

    def hashes(found: dict[str, Any]) -> dict[str, str]:
        return {entry["name"]: entry["sha256"] for entry in found["files"]}

    assert hashes(receipt) == hashes(other)
    assert f"{learner}.safetensors" in hashes(receipt)


def test_a_table_is_learnt_from_without_trying_anything(tmp_path: Path) -> None:
    config = config_of(tmp_path / "out", logged="all", source="logged")
    stages = make(config, "episodes")
    Path(config.policy.path).unlink()
    make(config, "adaptive", stages)
    manifest = dataset.read_manifest(stages["adaptive"].uri)
    assert manifest is not None and manifest["figures"]["tokens"] == 0
    [row] = manifest["figures"]["learners"]
    assert row["last"] > row["first"]


def test_test_problems_among_the_training_problems_are_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path / "out", train=15, test=3, logged=1, allow=[])
    from qstar_core.audit.questions import refuse_leakage

    train = problem_sets.problems(config.domain, "train", 0)
    with pytest.raises(UserError, match="adaptive: 15 of 15 test problems") as caught:
        refuse_leakage(train, train, [], model="adaptive")
    assert "qstar train-adaptive CONFIG --set 'adaptive.allow=[leakage]'" in caught.value.next_step
    assert best_word(train[0]) in ("red", "blue")


def test_a_missing_value_model_is_named(tmp_path: Path) -> None:
    search = {"factors": [{"name": "k", "values": [2, 3]}], "template": "{prompt}"}
    method = {"name": "A*", "algorithm": "astar"}
    config = config_of(tmp_path / "out", **search, method=method)
    policy = config.policy.model_validate({"path": "reference:countdown-policy"})
    stages = pipeline.plan(config.model_copy(update={"policy": policy}), until="adaptive")
    with pytest.raises(UserError, match="its input qvm is not there") as caught:
        pipeline.check_inputs(stages["episodes"], ("problems",))
    assert "qstar train-qvm" in caught.value.next_step
