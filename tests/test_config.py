from __future__ import annotations

from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from qstar_core import pipeline
from qstar_core.config import (
    RUNTIME_ONLY,
    CountdownRanges,
    LabelsConfig,
    PolicyConfig,
    PoolConfig,
    RunConfig,
    SearchConfig,
    Section,
)
from qstar_core.errors import UserError
from tests.models import tiny_policy

# values that differ from the defaults, where a rule by type would not do
OTHER: dict[str, Any] = {
    "policy.path": None,  # tested by the fingerprint below
    "policy.dtype": "float32",
    "domain.name": None,  # gsm8k generates no problems; tested below
    "domain.shown_tests": None,  # of mbpp; tested in domains/test_mbpp_problems.py
    "policy.backend": None,  # these three are tested below
    "policy.lora": None,
    "policy.engine": None,
    "policy.server.model": None,  # of served policies; tested in policies/test_served.py
    "policy.server.revision": None,
    "labels.method": "soft",
    "labels.eta": None,  # these two are of one method each; tested below
    "labels.reduce": None,
    "labels.rounds": None,  # of one method; tested in test_planning.py
    "labels.start": None,
    "labels.candidates": None,
    "pools": None,  # tested in test_config_pools.py
    "qvm.path": None,  # leaves stages out; tested below
    "qvm.init": "TINY",
    "qvm.loss": "mse",
    "qvm.weighting": "interval",
    "qvm.optimizer": "adamw",
    "qvm.score_dtype": "float32",
    "qvm.backend": None,  # these four are tested in policies/test_scoring.py
    "qvm.engine": None,
    "prm.path": None,
    "prm.init": "TINY",
    "prm.loss": "mse",
    "prm.dtype": "float32",
    "prm.annotations": "ANNOTATIONS",
    "prm.neutral": None,  # of annotations; tested in test_prm_stages.py
    "prm.estimation": "soft",
    "prm.holdout": 0.2,
    "prm.calibration": "none",
    "prm.seed": 1,
    "qvm.seed": 1,
    "prm.weighting": "interval",
    "prm.optimizer": "adamw",
    "qvm.holdout": 0.2,
    "qvm.calibration": "none",
    "labels.gamma": 0.9,
    "evaluation.baseline": "greedy",
    "comparison.tokens": [100, 200],
    "comparison.seconds": [0.5],
    "comparison.methods": None,  # tested below
    "comparison.baseline": "greedy",
    "comparison.correction": "none",
    "rounds": None,  # these are tested in test_expert_iteration.py
    "adaptive": None,  # tested in test_adaptive_stages.py
    "sft.start": None,
    "sft.base": None,
    "sft.distinct": "form",
    "sft.batch_size": 64,
    "sft.accumulation": 2,
    "sft.lora": {"rank": 4},
    "sft.eval_every": 7,
    "domain.ranges.numbers": (3, 4),
    "domain.train_problems": 1999,
    "domain.test_problems": 499,
    "domain.test_share": None,  # of the other domains; tested in domains/test_problem_rows.py
    "domain.prompt": None,  # of the other domains; tested in prompts/test_prompts.py
    "domain.train_file": "FILE",
    "domain.test_file": "FILE",
    "rollouts.import_file": "IMPORT",
}
IMPORTED = (
    '{"question": "3 2 1 > 6", "reference": {"numbers": [1, 2, 3], "target": 6}, "samples": ["6"]}'
)
ASTAR = {"name": "A*", "algorithm": "astar", "reward": "prm"}
JUDGED = ("comparison.baseline", "comparison.correction")  # decide the figures of a comparison
METHOD = {
    "name": "other",
    "algorithm": "greedy",
    "heuristic": "lookahead",
    "aggregation": "sum",
    "reward": "none",
    "step_values": "min",
    "merge": "state",
    "vote": "q",
    "exploration_rule": "uct",
}


def fields(section: Section, prefix: str = "") -> list[tuple[str, Any, bool]]:
    """(dotted name, value, runtime only) of every leaf."""
    found = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            assert isinstance(value, Section)
            found += fields(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value, field.json_schema_extra == RUNTIME_ONLY))
    return found


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 or 0.5
    raise AssertionError(f"say in OTHER what to change {value!r} to")


def replaced(config: RunConfig, dotted: str, value: Any) -> RunConfig:
    tree = config.model_dump()
    node = tree
    *parents, leaf = dotted.split(".")
    for part in parents:
        node = node[part]
    node[leaf] = value
    return RunConfig.model_validate(tree)


@pytest.fixture()
def base(tmp_path: Path) -> RunConfig:
    return RunConfig(out=str(tmp_path / "out"), policy=PolicyConfig(path=str(tiny_policy())))


def keys(config: RunConfig) -> dict[str, str]:
    stages = pipeline.plan(config) | pipeline.plan_comparison(config)
    if config.qvm.path is None:
        stages |= pipeline.plan_policy(config)
    return {name: stage.key for name, stage in stages.items() if not name.endswith("report")}


def judged(config: RunConfig) -> dict[str, str]:
    return {"report": pipeline.plan_comparison(config)["comparison_report"].key}


LEAVES = fields(RunConfig())


@pytest.mark.parametrize(("name", "value", "runtime"), LEAVES, ids=[leaf[0] for leaf in LEAVES])
def test_a_field_that_can_change_a_row_changes_a_key_and_no_other_does(
    base: RunConfig, tmp_path: Path, name: str, value: Any, runtime: bool
) -> None:
    if name.startswith("pretrain.") or name == "evaluation.methods":
        return  # not a stage of a run; the methods have a test of their own
    if name.startswith("prm."):
        tree = base.model_dump()
        tree["evaluation"] |= {"methods": [ASTAR], "baseline": "A*"}
        base = RunConfig.model_validate(tree)
    new = OTHER[name] if name in OTHER else (None if runtime else changed(value))
    if new == "FILE":
        new = str(tmp_path / "p.jsonl")
        Path(new).write_text('{"numbers": [4, 9, 10, 13], "target": 24}\n')
    if new == "IMPORT":
        new = str(tmp_path / "i.jsonl")
        Path(new).write_text(IMPORTED)
    if new == "ANNOTATIONS":
        new = str(tmp_path / "a.jsonl")
        Path(new).write_text("not read before the run\n")
    if new == "TINY":
        new = str(tiny_policy())
    if runtime:
        other = {"out": str(tmp_path / "elsewhere"), "name": "another"}.get(name, value)
        if isinstance(value, int | float):
            other = changed(value)
        assert keys(replaced(base, name, other)) == keys(base)
    elif new is not None:
        before, after = keys(base), keys(replaced(base, name, new))
        if name in JUDGED:
            assert before == after, f"{name} changes no search"
            before, after = judged(base), judged(replaced(base, name, new))
        assert before != after, f"{name} can change a row and changes no key"


OF_ADAPTIVE = ("choose", "factor")  # methods; tested in test_config_adaptive.py


@pytest.mark.parametrize("field", [f for f in SearchConfig.model_fields if f not in OF_ADAPTIVE])
def test_every_field_of_a_method_changes_the_evaluation_key(base: RunConfig, field: str) -> None:
    tree = base.model_dump()
    before = keys(base)
    method = tree["evaluation"]["methods"][2]
    method[field] = METHOD[field] if field in METHOD else changed(method[field])
    after = keys(RunConfig.model_validate(tree))
    assert after["evaluation"] != before["evaluation"]
    assert after["comparison"] != before["comparison"]
    assert after["qvm"] == before["qvm"]
    methods = tree["evaluation"]["methods"]
    tree = base.model_dump()
    tree["comparison"]["methods"] = methods
    own = keys(RunConfig.model_validate(tree))
    assert own["comparison"] == after["comparison"]
    assert own["evaluation"] == before["evaluation"]


@pytest.mark.parametrize(
    ("method", "field", "value"), [("soft", "eta", 0.7), ("stronger_policy", "reduce", "mean")]
)
def test_a_parameter_of_one_label_method_is_in_its_key_alone(
    base: RunConfig, method: str, field: str, value: Any
) -> None:
    def labels(name: str, **more: Any) -> str:
        chosen = LabelsConfig.model_validate({"method": name, **more})
        pools = [PoolConfig(kind="stronger")]  # which stronger_policy needs
        return keys(base.model_copy(update={"labels": chosen, "pools": pools}))["labels"]

    assert labels(method) != labels(method, **{field: value})
    assert labels("best_of_rollouts") == labels("best_of_rollouts", **{field: value})


def test_the_domain_is_part_of_the_keys(base: RunConfig, tmp_path: Path) -> None:
    found = []
    for name, row in (
        ("countdown", '{"numbers": [1, 2, 3], "target": 6}'),
        ("gsm8k", '{"question": "?", "answer": "#### 6"}'),
    ):
        files = {split: tmp_path / f"{name}-{split}.jsonl" for split in ("train", "test")}
        files["train"].write_text(row)
        files["test"].write_text(row.replace("6", "5"))
        domain = {"name": name, **{f"{split}_file": str(f) for split, f in files.items()}}
        found.append(keys(replaced(base, "domain", domain)))
    assert not set(found[0].values()) & set(found[1].values())


def test_the_policys_weights_are_part_of_the_keys(base: RunConfig, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_policy().iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    moved = replaced(base, "policy.path", str(copy))
    assert keys(moved) == keys(base)  # the same checkpoint elsewhere
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert keys(moved)["rollouts"] != keys(base)["rollouts"]


def test_the_backbones_content_is_part_of_the_key_and_its_place_is_not(
    base: RunConfig, tmp_path: Path
) -> None:
    copy = copytree(tiny_policy(), tmp_path / "copy")
    here, there = (replaced(base, "qvm.init", str(f)) for f in (tiny_policy(), copy))
    assert keys(here) == keys(there)
    assert "init" not in pipeline.plan(here)["qvm"].rows
    assert pipeline.plan(base)["qvm"].rows["init"] is None  # as in keys made before
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert keys(here)["qvm"] != keys(there)["qvm"]


def vllm(base: RunConfig, **policy: Any) -> RunConfig:
    given = {"dtype": "float32", **base.policy.model_dump(include={"path"}), **policy}
    return replaced(base, "policy", given)


def test_the_engine_and_all_its_arguments_change_the_keys(base: RunConfig, tmp_path: Path) -> None:
    adapters = []
    for number in range(2):
        adapters.append(tmp_path / f"lora{number}")
        adapters[-1].mkdir()
        (adapters[-1] / "adapter_config.json").write_text('{"r": 8}')
        (adapters[-1] / "adapter_model.safetensors").write_bytes(bytes([number]))
    variants: list[dict[str, Any]] = [
        {"backend": "transformers"},
        {"backend": "transformers", "dtype": "float16"},
        {"backend": "transformers", "chat": True},
        {"backend": "vllm"},
        {"backend": "vllm", "dtype": "float16"},
        {"backend": "vllm", "chat": True},
        {"backend": "vllm", "batch_size": 7},
        {"backend": "vllm", "engine": {"enforce_eager": True}},
        {"backend": "vllm", "engine": {"enforce_eager": False}},
        {"backend": "vllm", "engine": {"compilation_config": {"mode": 0}}},
        {"backend": "vllm", "lora": str(adapters[0])},
        {"backend": "vllm", "lora": str(adapters[1])},
    ]
    found = [keys(vllm(base, **variant)) for variant in variants]
    for stage in ("rollouts", "evaluation"):
        assert len({key[stage] for key in found}) == len(variants)
    moved = tmp_path / "moved"
    adapters[0].rename(moved)
    assert keys(vllm(base, backend="vllm", lora=str(moved))) == found[-2]


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ({"backend": "vllm", "dtype": "float64"}, "vllm has no float64"),
        ({"engine": {"enforce_eager": True}}, "need backend: vllm"),
        ({"lora": "somewhere"}, "need backend: vllm"),
        ({"backend": "vllm", "engine": {"trust_remote_code": True}}, "never run"),
        ({"backend": "vllm", "engine": {"hf_token": "hf_x"}}, "a secret"),
        ({"backend": "vllm", "engine": {"model": "other"}}, "the path names it"),
        ({"backend": "vllm", "engine": {"load_format": "pt"}}, "load_format must be one of"),
    ],
)
def test_settings_of_the_engine_that_are_refused(
    base: RunConfig, policy: dict[str, Any], what: str
) -> None:
    with pytest.raises(ValidationError, match=what):
        vllm(base, **policy)


def test_an_adapter_without_safetensors_is_refused(base: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_text("")
    with pytest.raises(UserError, match=r"policy\.lora: no adapter_model\.safetensors"):
        pipeline.plan(vllm(base, backend="vllm", lora=str(tmp_path)))


def test_a_given_qvm_leaves_the_training_stages_out(base: RunConfig) -> None:
    given = pipeline.plan(replaced(base, "qvm.path", "reference:countdown-qvm"))
    assert list(given) == ["problems", "evaluation", "report"]


def test_the_number_of_test_problems_leaves_rollouts_alone(base: RunConfig) -> None:
    more = keys(replaced(base, "domain.test_problems", 7))
    assert more["rollouts"] == keys(base)["rollouts"]
    assert more["evaluation"] != keys(base)["evaluation"]


@pytest.mark.parametrize(
    ("comparison", "where", "what"),
    [
        ({"tokens": []}, "comparison.tokens", "at least 1 item"),
        ({"tokens": [100, 0]}, "comparison.tokens.1", "greater than or equal to 1"),
        ({"tokens": [200, 100]}, "comparison.tokens", "budgets must ascend"),
        ({"tokens": [100, 100]}, "comparison.tokens", "budgets must ascend"),
        ({"tokens": [0.5]}, "comparison.tokens.0", "valid integer"),
        ({"seconds": [1, 0.5]}, "comparison.seconds", "budgets must ascend"),
        ({"seconds": [0.0]}, "comparison.seconds.0", "greater than 0"),
        ({"correction": "bonferroni"}, "comparison.correction", "'holm' or 'none'"),
        ({"price_per_million_tokens": -1.0}, "comparison.price_per_million_tokens", "equal to 0"),
        ({"methods": []}, "comparison.methods", "at least 1 item"),
        (
            {"methods": [{"name": "a", "algorithm": "greedy"}] * 2},
            "comparison.methods",
            "different names",
        ),
    ],
)
def test_a_wrong_comparison_is_refused_by_its_field(
    comparison: dict[str, Any], where: str, what: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"comparison": comparison})
    [error] = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert what in error["msg"]


@pytest.mark.parametrize(
    "comparison",
    [{"baseline": "beam"}, {"methods": [{"name": "beam", "algorithm": "beam"}]}],
)
def test_the_baseline_of_a_comparison_must_be_among_its_methods(comparison: Any) -> None:
    with pytest.raises(ValidationError, match=r"comparison\.baseline '.*' is not the name"):
        RunConfig.model_validate({"comparison": comparison})


def test_what_a_comparison_does_not_say_is_that_of_the_evaluation() -> None:
    assert RunConfig().compared() == RunConfig().evaluation
    method = {"name": "beam", "algorithm": "beam"}
    comparison = {"methods": [method], "baseline": "beam", "seconds": [1, 2.5]}
    config = RunConfig.model_validate({"comparison": comparison})
    assert [m.algorithm for m in config.compared().methods] == ["beam"]
    assert config.compared().baseline == "beam"
    assert config.comparison.seconds == [1.0, 2.5]
    assert config.evaluation == RunConfig().evaluation


def test_a_ranking_loss_needs_a_calibration_with_a_shift() -> None:
    with pytest.raises(ValidationError, match="set calibration to platt"):
        RunConfig.model_validate({"qvm": {"loss": "ranking"}})
    RunConfig.model_validate({"qvm": {"loss": "ranking", "calibration": "platt"}})


def test_a_training_has_the_seed_of_its_run_or_its_own() -> None:
    assert RunConfig().qvm.seed_of(3) == 3
    assert RunConfig.model_validate({"qvm": {"seed": 5}}).qvm.seed_of(3) == 5


def test_the_variant_of_countdown_alone_changes_a_key() -> None:
    assert "use_all" not in CountdownRanges().rows()
    assert CountdownRanges(use_all=False).rows()["use_all"] is False
