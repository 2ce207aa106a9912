from __future__ import annotations

import json
from pathlib import Path

import pytest

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.config_file import load_config
from qstar_core.errors import UserError
from qstar_core.policies.stand_ins import STAND_INS, with_stand_ins

FOLDER = Path(__file__).parents[2] / "deployments" / "configs"
ADAREASONER = FOLDER / "adareasoner.yaml"
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if path != ADAREASONER)
ROW = '{"question": "How much is 1 + 1?", "answer": "1+1 = 2\\n#### 2"}\n'
HUB = "nobody/no-such-model"


def test_checkpoints_that_a_hub_has_yet_to_give_have_stand_ins(tmp_path: Path) -> None:
    fields = {
        section: {name: HUB}
        for section, name in (("policy", "path"), ("qvm", "init"), ("prm", "path"), ("sft", "base"))
    }
    config = RunConfig.model_validate({"out": str(tmp_path), **fields})
    replaced, absent = with_stand_ins(config)
    assert absent == dict.fromkeys(("policy.path", "qvm.init", "prm.path", "sft.base"), HUB)
    assert (replaced.policy.path, replaced.prm.path) == (
        STAND_INS["policy.path"],
        STAND_INS["prm.path"],
    )
    assert (
        replaced.model_copy(
            update={name: getattr(config, name) for name in ("policy", "qvm", "prm", "sft")}
        )
        == config
    )


def test_what_is_here_or_misspelled_stays(tmp_path: Path) -> None:
    for policy in (
        {},
        {"path": "./models/policy"},
        {"path": "reference:nothing"},
        {"path": "s3://bucket/model"},
        {"backend": "server", "dtype": "bfloat16", "path": HUB},
        {"backend": "scripted", "path": "scripts/one.jsonl"},
    ):
        config = RunConfig.model_validate({"out": str(tmp_path), "policy": policy})
        assert with_stand_ins(config) == (config, {})


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_the_papers_configurations_plan_without_weights(path: Path, tmp_path: Path) -> None:
    row = ROW
    config = load_config(str(path), [])
    if config.domain.name == "math":
        row = ROW.replace("#### 2", "\\\\boxed{2}")
    elif config.domain.name == "mbpp":
        row = '{"text": "Add one.", "test_list": ["assert add_one(2) == 3"]}\n'
    for split, more in (("train", "3"), ("test", "4")):
        changed = row.replace("1 + 1", f"1 + {more}").replace("Add one", f"Add one, {more}")
        (tmp_path / f"{split}.jsonl").write_text(changed)
    files = {f"{split}_file": str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    domain = config.domain.model_copy(update=files)
    config = config.model_copy(update={"domain": domain, "out": str(tmp_path / "out")})
    with pytest.raises(UserError, match=r"policy\.path"):
        pipeline.plan(config)
    planned, absent = with_stand_ins(config)
    assert absent == {"policy.path": config.policy.path}
    stages = pipeline.plan(planned)
    tokens = pipeline.estimate(stages["rollouts"], planned)["policy_tokens"]
    assert tokens == config.rollouts.samples * config.rollouts.max_new_tokens


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_what_the_paper_says_is_what_is_set(path: Path) -> None:
    config = load_config(str(path), [])
    [star] = [m for m in config.evaluation.methods if m.algorithm == "astar"]
    said = {
        "gsm8k": (0.9, "prm", "min"),
        "math": (0.9, "none", "min"),
        "mbpp": (0.2, "rules", "last"),
    }
    assert (star.temperature, star.reward, star.aggregation) == said[config.domain.name]
    assert (star.k, star.n, star.lam, star.heuristic) == (6, 6, 1.0, "lookahead")
    assert config.qvm.loss == "mse"
    assert config.policy.chat is (config.domain.prompt or "").endswith("chat")
    assert config.runtime.tokens_per_second is not None


def test_adareasoner_plans_without_weights_as_the_paper_says(tmp_path: Path) -> None:
    rows = [{"question": f"Which is {n}?", "choices": ["1", "2"], "answer": 0} for n in range(40)]
    file = tmp_path / "source.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [f"domain.train_file={file}", f"out={tmp_path / 'out'}"]
    config = load_config(str(ADAREASONER), sets)
    adaptive = config.adaptive
    assert adaptive is not None
    assert (adaptive.size, adaptive.baseline, adaptive.entropy_bonus) == (8800, "none", 0.0)
    planned, absent = with_stand_ins(config)
    assert absent == {"adaptive.embedding": "google-bert/bert-base-uncased"}
    stages = pipeline.plan(planned)
    assert list(stages) == ["problems", "episodes", "adaptive", "evaluation", "report"]
    assert len(pipeline.plan(planned, until="adaptive")) == 3
