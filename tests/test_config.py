from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from qstar_core import pipeline
from qstar_core.config import (
    RUNTIME_ONLY,
    PolicyConfig,
    QvmConfig,
    RunConfig,
    SearchConfig,
    Section,
    load_config,
)
from qstar_core.errors import UserError
from tests.models import tiny_policy

# values that differ from the defaults, where a rule by type would not do
OTHER: dict[str, Any] = {
    "policy.path": None,  # tested by the fingerprint below
    "policy.dtype": "float32",
    "domain.name": None,  # one domain only so far
    "policy.backend": None,
    "labels.method": None,
    "qvm.path": None,  # leaves stages out; tested below
    "qvm.init": "TINY",
    "qvm.loss": "mse",
    "qvm.score_dtype": "float32",
    "qvm.holdout": 0.2,
    "labels.gamma": 0.9,
    "evaluation.baseline": "greedy",
    "domain.train_problems": 1999,
    "domain.test_problems": 499,
    "domain.train_file": "FILE",
    "domain.test_file": "FILE",
}
METHOD = {
    "name": "other",
    "algorithm": "greedy",
    "heuristic": "lookahead",
    "aggregation": "sum",
    "reward": "none",
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
    return {s.name: s.key for s in pipeline.plan(config).values() if s.name != "report"}


LEAVES = fields(RunConfig())


@pytest.mark.parametrize(("name", "value", "runtime"), LEAVES, ids=[leaf[0] for leaf in LEAVES])
def test_a_field_that_can_change_a_row_changes_a_key_and_no_other_does(
    base: RunConfig, tmp_path: Path, name: str, value: Any, runtime: bool
) -> None:
    if name.startswith("pretrain.") or name == "evaluation.methods":
        return  # not a stage of a run; the methods have a test of their own
    new = OTHER[name] if name in OTHER else (None if runtime else changed(value))
    if new == "FILE":
        new = str(tmp_path / "p.jsonl")
        Path(new).write_text('{"numbers": [4, 9, 10, 13], "target": 24}\n')
    if new == "TINY":
        new = str(tiny_policy())
    if runtime:
        other = {"out": str(tmp_path / "elsewhere"), "name": "another"}.get(name, value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            other = value + 1
        assert keys(replaced(base, name, other)) == keys(base)
    elif new is not None:
        before, after = keys(base), keys(replaced(base, name, new))
        assert before != after, f"{name} can change a row and changes no key"


@pytest.mark.parametrize("field", list(SearchConfig.model_fields))
def test_every_field_of_a_method_changes_the_evaluation_key(base: RunConfig, field: str) -> None:
    tree = base.model_dump()
    method = tree["evaluation"]["methods"][2]
    method[field] = METHOD[field] if field in METHOD else changed(method[field])
    after = keys(RunConfig.model_validate(tree))
    assert after["evaluation"] != keys(base)["evaluation"]
    assert after["qvm"] == keys(base)["qvm"]


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


def test_a_given_qvm_leaves_the_training_stages_out(base: RunConfig) -> None:
    given = pipeline.plan(replaced(base, "qvm.path", str(tiny_policy())))
    assert list(given) == ["problems", "evaluation", "report"]


def test_the_number_of_test_problems_leaves_rollouts_alone(base: RunConfig) -> None:
    more = keys(replaced(base, "domain.test_problems", 7))
    assert more["rollouts"] == keys(base)["rollouts"]
    assert more["evaluation"] != keys(base)["evaluation"]


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


def test_load_and_override(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 3\nrollouts: {samples: 2}\n")
    config = load_config(file, ["rollouts.samples=5", "labels.gamma=0.5", "qvm.path=null"])
    assert (config.seed, config.rollouts.samples, config.labels.gamma) == (3, 5, 0.5)
    assert load_config(write(tmp_path, "")) == RunConfig()


def astar(lam: str) -> str:
    return f"{{name: best-of-N, algorithm: astar, lam: {lam}}}"


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1.0e-3", ".1e-2", "10.e-04", "'1e-3'"])
def test_floats_may_be_in_scientific_notation(tmp_path: Path, text: str) -> None:
    numbers = f"pretrain: {{numbers: {{3: {text}}}}}"
    config = load_config(write(tmp_path, numbers), [f"evaluation.methods=[{astar(text)}]"])
    assert config.pretrain.numbers == {3: 0.001}
    assert config.evaluation.methods[0].lam == 0.001
    file = write(tmp_path, f"qvm: {{learning_rate: {text}}}")
    assert load_config(file, [f"qvm.weight_decay={text}"]).qvm == QvmConfig(
        learning_rate=0.001, weight_decay=0.001
    )


def test_text_that_looks_like_a_number_stays_text(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "name: 1e-3")).name == "1e-3"


def test_override_a_method(tmp_path: Path) -> None:
    text = "evaluation: {methods: [{name: a, algorithm: greedy}], baseline: a}\n"
    config = load_config(write(tmp_path, text), ["evaluation.methods.0.k=3"])
    assert config.evaluation.methods[0].k == 3


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        ("seeed: 1", [], "unknown field seeed"),
        ("rollouts: {sample: 1}", [], "unknown field rollouts.sample"),
        ("seed: one", [], "seed: "),
        ("rollouts: {samples: 0}", [], "rollouts.samples"),
        ("rollouts: {samples: 2.5}", [], "rollouts.samples"),
        ("evaluation: {baseline: nobody}", [], "nobody"),
        ("domain: {ranges: {min_target: 60, max_target: 50}}", [], "min_target"),
        ("a: [", [], "not valid YAML"),
        ("- 1", [], "mapping"),
        ("", ["seed"], "path.to.field=value"),
        ("", ["seed.x.y=1"], "seed"),
        ("", ["name={"], "--set name: '{' is not valid YAML"),
        ("", ["name=2020-13-45"], "--set name: '2020-13-45' is not valid YAML"),
        ("", ["name=!!timestamp x"], "is not valid YAML"),
        ("rollouts: " + "[" * 5000, [], "is not valid YAML"),
        ("rollouts: {temperature: .inf}", [], "rollouts.temperature: Input should be a finite"),
        ("", ["rollouts.temperature=.nan"], "rollouts.temperature: Input should be a finite"),
        ("", ["qvm.learning_rate=1e999"], "qvm.learning_rate: Input should be a finite"),
        ("", ["qvm.learning_rate=-1e-3"], "qvm.learning_rate: Input should be greater than 0"),
        ("", ["pretrain.numbers={3: .inf}"], "pretrain.numbers.3: Input should be a finite"),
        ("", ["runtime.shard_timeout_s=.inf"], "runtime.shard_timeout_s"),
        ("", ["rollouts.samples=1e3"], "rollouts.samples: Input should be a valid integer"),
        ("", ["qvm.learning_rate=1e"], "qvm.learning_rate: Input should be a valid number"),
        ("", ["evaluation.methods.9.k=1"], "methods"),
    ],
)
def test_mistakes_name_the_field(
    tmp_path: Path, text: str, overrides: list[str], says: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_config(write(tmp_path, text), overrides)
    assert says in caught.value.what
    assert caught.value.next_step


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UserError, match=r"config\.yaml is not valid YAML: .*#x00e9"):
        load_config(file)
    file.write_bytes(b"\xef\xbb\xbfname: cafe\n")
    assert load_config(file).name == "cafe"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such configuration"):
        load_config(tmp_path / "absent.yaml")
