from __future__ import annotations

import json
from pathlib import Path

import pytest

from qstar_core.config import QvmConfig, RunConfig
from qstar_core.config_file import load_config
from qstar_core.errors import UserError
from qstar_core.store import open_store


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


def test_load_and_override(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 3\nrollouts: {samples: 2}\n")
    config = load_config(file, ["rollouts.samples=5", "labels.gamma=0.5", "qvm.path=null"])
    assert (config.seed, config.rollouts.samples, config.labels.gamma) == (3, 5, 0.5)
    assert load_config(write(tmp_path, "{}")) == RunConfig()


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
        ("seeed: 1", [], "unknown field seeed; did you mean seed?"),
        ("rollouts: {sample: 1}", [], "unknown field rollouts.sample; did you mean samples?"),
        ("domain: {ranges: {zzz: 1}}", [], "domain.ranges.zzz; there are numbers, min_number, "),
        ("{}", ["evaluation.methods=[{name: a, algoritm: b}]"], "did you mean algorithm?"),
        ("seed: one", [], "seed: "),
        ("seed: -1", [], "seed: Input should be greater than or equal to 0 (got -1)"),
        ("{}", ["pretrain.seed=-3"], "pretrain.seed: Input should be greater than or equal to 0"),
        ("rollouts: {samples: 0}", [], "rollouts.samples"),
        ("rollouts: {samples: 2.5}", [], "rollouts.samples"),
        ("evaluation: {baseline: nobody}", [], "nobody"),
        ("domain: {ranges: {min_target: 60, max_target: 50}}", [], "min_target"),
        ("domain: {ranges: {numbers: 7}}", [], "ranges.numbers: Input should be 2 to 6, such as 4"),
        ("domain: {ranges: {numbers: [3, 3]}}", [], "ranges.numbers: Input should have each count"),
        ("domain: {ranges: {numbers: []}}", [], "ranges.numbers: Input should be 2 to 6"),
        ("a: [", [], "not valid YAML"),
        ("- 1", [], "mapping"),
        ("{}", ["seed"], "path.to.field=value"),
        ("{}", ["seed.x.y=1"], "seed"),
        ("{}", ["name={"], "--set name: '{' is not valid YAML"),
        ("{}", ["name=2020-13-45"], "--set name: '2020-13-45' is not valid YAML"),
        ("{}", ["name=!!timestamp x"], "is not valid YAML"),
        ("rollouts: " + "[" * 5000, [], "is not valid YAML"),
        ("rollouts: {temperature: .inf}", [], "rollouts.temperature: Input should be a finite"),
        ("{}", ["rollouts.temperature=.nan"], "rollouts.temperature: Input should be a finite"),
        ("{}", ["qvm.learning_rate=1e999"], "qvm.learning_rate: Input should be a finite"),
        ("{}", ["qvm.learning_rate=-1e-3"], "qvm.learning_rate: Input should be greater than 0"),
        ("{}", ["pretrain.numbers={3: .inf}"], "pretrain.numbers.3: Input should be a finite"),
        ("{}", ["runtime.stall_timeout_s=.inf"], "runtime.stall_timeout_s"),
        ("{}", ["rollouts.samples=1e3"], "rollouts.samples: Input should be a valid integer"),
        ("{}", ["qvm.learning_rate=1e"], "qvm.learning_rate: Input should be a valid number"),
        ("{}", ["evaluation.methods.9.k=1"], "methods"),
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


def test_a_manifest_is_the_configuration_of_its_run(tmp_path: Path) -> None:
    config = RunConfig.model_validate({"name": "night", "seed": 7, "qvm": {"loss": "mse"}})
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"kind": "report", "config": config.model_dump(mode="json")}))
    assert load_config(manifest) == config
    assert load_config(manifest, ["seed=8"]).seed == 8


def test_out_is_taken_as_it_is_and_comes_last(tmp_path: Path) -> None:
    file = write(tmp_path, "out: here")
    assert load_config(file, ["out=there"], "a: strange [name]").out == "a: strange [name]"
    assert load_config(file, ["out=there"]).out == "there"


def test_a_configuration_may_lie_on_s3(tmp_path: Path, bucket: str) -> None:
    open_store(bucket).replace("runs/night.yaml", b"seed: 3")
    assert load_config(f"{bucket}/runs/night.yaml") == RunConfig(seed=3)
    with pytest.raises(UserError, match=r"no such configuration: s3://.*/absent\.yaml"):
        load_config(f"{bucket}/absent.yaml")
    manifest = json.dumps({"config": {"seed": 4}}).encode()
    open_store(bucket).replace("report/key/manifest.json", manifest)
    assert load_config(f"{bucket}/report/key/manifest.json").seed == 4


@pytest.mark.parametrize("text", ["", "\n", "# qvm: {loss: mse}\n", "---\n"])
def test_a_file_that_sets_nothing_is_refused(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(UserError, match="sets no field: it is empty") as caught:
        load_config(file, ["name=mine"])
    assert str(file) in caught.value.what and "deployments/demo.yaml" in caught.value.next_step
