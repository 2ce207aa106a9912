"""What is wrong with S3 is said before anything starts: exit code 2 and the next command."""

from __future__ import annotations

from pathlib import Path

import pytest

from qstar_core.store import open_store, s3

from .test_errors import assert_refused, run


@pytest.mark.parametrize("field", ["out", "policy.path", "qvm.path", "qvm.init"])
def test_a_missing_bucket(config: Path, bucket: str, field: str) -> None:
    sets = ("--set", f"{field}=s3://no-such-bucket/x")
    for extra in ([], ["--plan"]):
        result = run("run", config, *sets, *extra)
        assert_refused(result, f"{field}: s3://no-such-bucket/x: there is no bucket")
        assert "aws s3 mb s3://no-such-bucket" in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "refuses the credentials"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "cannot reach S3"),
        ("AWS_PROFILE", "nobody", "nobody"),
    ],
)
def test_unusable_settings(
    config: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, word: str
) -> None:
    monkeypatch.setattr(s3, "CHECK_ROUNDS", 1)
    monkeypatch.setenv(name, value)
    result = run("run", config, "--out", f"{bucket}/night")
    assert_refused(result, "out: ", word)
    assert "wrong-secret" not in result.output
    assert_refused(run("show", f"{bucket}/rollouts/abc"), word)
    assert_refused(run("fetch", f"{bucket}/rollouts/abc", "copy"), word)


def test_nothing_there(config: Path, bucket: str) -> None:
    assert_refused(run("show", f"{bucket}/no"), "no complete data set")
    assert_refused(run("fetch", f"{bucket}/no", "copy"), "no complete data set")
    assert_refused(run("run", f"{bucket}/no.yaml"), "no such configuration", bucket)
    sets = ("--set", f"domain.test_file={bucket}/no.jsonl")
    assert_refused(run("run", config, *sets), "no such file", bucket)
    sets = ("--set", f"policy.path={bucket}/policy")
    assert_refused(run("run", config, *sets), "no checkpoint with config.json", bucket)
    assert_refused(run("run", config, "--out", "gs://bucket/x"), "s3://bucket/prefix")
    assert_refused(run("label", config, "--out", f"{bucket}/x"), "is not there yet")


def test_a_bad_row_of_a_file_on_s3(config: Path, bucket: str) -> None:
    open_store(bucket).replace("p.jsonl", b'{"numbers": [1, 2], "target": "six"}\n')
    sets = ("--set", f"domain.test_file={bucket}/p.jsonl")
    assert_refused(run("run", config, *sets), f"{bucket}/p.jsonl, row 1", "target must be")
