"""What is particular to S3: settings, errors, retries, conditions, uploads that break off."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from qstar_core import worker
from qstar_core.errors import StorageUnreachable, UserError, users_to_mend
from qstar_core.store import dataset, open_store, retries, s3_client, uri
from qstar_core.store import s3 as s3_store
from qstar_core.store.s3 import PART_BYTES, S3Store
from qstar_core.store.s3_client import explained
from tests.fault_proxy import FaultProxy, error_answer
from tests.processes import PATIENCE_S, wait_until
from tests.s3 import S3Server

from .test_contract import put
from .test_dataset import make_shard

Proxy = Callable[..., FaultProxy]


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Makes a proxy and sends this process's requests through it."""
    made: list[FaultProxy] = []

    def make(share: float = 0.0, **options: object) -> FaultProxy:
        made.append(FaultProxy(s3.port, share, **options))  # type: ignore[arg-type]
        monkeypatch.setenv("AWS_ENDPOINT_URL", made[-1].url)
        return made[-1]

    yield make
    for each in made:
        each.close()


def refused(work: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as caught:
        work()
    assert caught.value.next_step
    return caught.value


def test_a_wrong_secret_is_said_at_once(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    store = open_store(bucket + "/x")
    error = refused(lambda: store.check("out"))
    assert error.what.startswith("out: s3://")
    assert "refuses the credentials" in error.what
    assert "AWS_SECRET_ACCESS_KEY" in error.next_step
    assert "wrong-secret" not in error.what
    assert "refuses the credentials" in refused(lambda: store.replace("x", b"")).what


def test_a_missing_bucket_is_said(s3: S3Server) -> None:
    store = open_store("s3://no-such-bucket/x")
    for work in (lambda: store.check("out"), lambda: store.replace("x", b""), store.sizes):
        error = refused(work)
        assert "no bucket no-such-bucket" in error.what
        assert s3.url in error.what
        assert "aws s3 mb s3://no-such-bucket" in error.next_step


def test_an_endpoint_that_does_not_answer_is_said(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "CHECK_ROUNDS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:pass@127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        error = refused(lambda: open_store(bucket).check("policy.path"))
        assert error.what.startswith(f"policy.path: {bucket}: cannot reach S3 at http://127.0.0.1:")
        assert "AWS_ENDPOINT_URL" in error.next_step
        assert "pass" not in error.what
        assert isinstance(error, StorageUnreachable)
        assert worker._report(error, {})["kind"] == "crash"  # so the shard is tried again


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("AWS_ACCESS_KEY_ID", None, "credentials"),
        ("AWS_SECRET_ACCESS_KEY", None, "credentials"),
        ("AWS_PROFILE", "nobody", "nobody"),
        ("AWS_ENDPOINT_URL", "not a url", "not a url"),
    ],
)
def test_settings_that_cannot_be_used_are_said(
    bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, word: str
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    error = refused(lambda: open_store(bucket).check("out"))
    assert word in error.what
    assert "AWS_PROFILE" in error.next_step


def test_a_profile_with_its_endpoint_is_used(
    s3: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = s3.env()
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {s3.url}\n"
        f"aws_access_key_id = {env['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {env['AWS_SECRET_ACCESS_KEY']}\n"
    )
    for name in env:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    open_store(bucket).check("out")


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("s3://", "not the name of a bucket"),
        ("s3://a_b!/x", "not the name of a bucket"),
        ("gs://bucket/x", "neither a local path"),
        ("s3:/bucket/x", "neither a local path"),
    ],
)
def test_a_malformed_uri_is_said(uri: str, word: str) -> None:
    assert word in refused(lambda: open_store(uri)).what


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (403, "InvalidAccessKeyId", "refuses the credentials"),
        (403, "AccessDenied", "denies access"),
        (403, "403", "denies access"),
        (400, "ExpiredToken", "have expired"),
        (403, "RequestTimeTooSkewed", "RequestTimeTooSkewed"),
        (301, "PermanentRedirect", "another region"),
        (400, "EntityTooLarge", "refuses the request"),
    ],
)
def test_what_no_retry_mends_is_the_users(s3: S3Server, status: int, code: str, word: str) -> None:
    error = explained(answered(status, code), "s3://b/x")
    assert isinstance(error, UserError)
    assert word in error.what
    assert "s3://b/x" in error.what
    assert error.next_step.endswith("run the same command again")


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "x"), (400, "BadDigest")]
)
def test_what_may_pass_is_an_error_of_the_system(s3: S3Server, status: int, code: str) -> None:
    error = explained(answered(status, code), "s3://b/x")
    assert isinstance(error, OSError)
    assert (error.errno, error.filename) == (errno.EIO, "s3://b/x")
    assert users_to_mend(error, ["s3://b"]) is None


def answered(status: int, code: str) -> ClientError:
    metadata = {"HTTPStatusCode": status}
    answer = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": metadata}
    return ClientError(answer, "PutObject")  # type: ignore[arg-type]


def test_a_missing_input_is_the_users_and_keeps_its_uri(bucket: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_store(bucket + "/inputs").read("gone")
    assert users_to_mend(caught.value, ["/data"]) is None
    error = users_to_mend(caught.value, [bucket + "/inputs/"])
    assert error is not None
    assert f"put {bucket}/inputs/gone back" in error.next_step


def test_an_expired_token_is_said(bucket: str, proxy: Proxy) -> None:
    proxy(answer=lambda head: error_answer(400, "ExpiredToken"))
    assert "have expired" in refused(lambda: open_store(bucket).check("out")).what


def test_faults_are_absorbed_and_counted(
    bucket: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = proxy(0.2, seed=3, faults=("503", "reset", "broken"))
    before = retries.total() or 0
    store = open_store(bucket + "/p")
    content = os.urandom(2 * PART_BYTES + 1)
    for k in range(4):
        put(store, f"part-{k}", content)
        store.download(f"part-{k}", tmp_path / f"copy-{k}")
        assert (tmp_path / f"copy-{k}").read_bytes() == content
        assert store.put_new(f"manifest-{k}", b"{}")  # also where its answer was lost
    assert len(store.names()) == 8
    assert faulty.spoiled.total() >= 5
    assert (retries.total() or 0) - before == faulty.spoiled.total()


def test_a_stalled_answer_is_waited_for_and_a_longer_one_repeated(
    bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "READ_TIMEOUT_S", 1.0)
    before = retries.total() or 0
    proxy(1.0, stall_s=0.5, faults=("stall",))
    open_store(bucket).replace("x", b"1")
    assert retries.total() == before
    stalling = proxy(0.5, seed=1, stall_s=30.0, faults=("stall",))
    open_store(bucket).replace("x", b"2")
    for _ in range(3):
        assert open_store(bucket).read("x") == b"2"
    assert (retries.total() or 0) - before == stalling.spoiled["stall"] > 0


def test_a_server_that_always_fails_is_an_error_of_the_system(
    bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(s3_client, "ROUNDS", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy(answer=lambda head: error_answer(500, "InternalError"))
    with pytest.raises(OSError, match="InternalError") as caught:
        open_store(bucket).read("x")
    assert caught.value.errno == errno.EIO


def test_a_host_that_swallows_packets_is_given_up_after_one_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, tries = [0.0], []
    monkeypatch.setattr(s3_client.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(s3_client.time, "sleep", lambda seconds: None)

    def swallowed() -> None:
        tries.append(now[0])
        now[0] += 50.0
        raise ConnectTimeoutError(endpoint_url="http://10.255.255.1")

    with pytest.raises(OSError, match="cannot reach S3"):
        s3_client.patiently("s3://bucket", swallowed, rounds=3, patience_s=10.0)
    assert tries == [0.0]
    with pytest.raises(OSError, match="cannot reach S3"):
        s3_client.patiently("s3://bucket", swallowed, rounds=3)
    assert len(tries) == 5


def test_a_condition_that_the_server_does_not_know_is_done_without(
    bucket: str, proxy: Proxy
) -> None:
    def no_condition(head: bytes) -> bytes | None:
        return error_answer(501, "NotImplemented") if b"if-none-match" in head.lower() else None

    proxy(answer=no_condition)
    store = open_store(bucket)
    assert store.put_new("manifest.json", b"1")
    assert not store.put_new("manifest.json", b"2")
    assert store.read("manifest.json") == b"1"


def test_a_manifest_of_somebody_else_is_verified_and_taken(bucket: str) -> None:
    receipts = [make_shard(bucket, "a", 3)]
    first = dataset.publish(bucket, {"by": "another machine"}, receipts)
    assert dataset.publish(bucket, {"by": "this one"}, receipts) == first
    open_store(bucket).delete("part-a.parquet")
    with pytest.raises(UserError, match="missing or damaged"):
        dataset.publish(bucket, {"by": "this one"}, [{**receipts[0], "files": []}])


def test_a_bucket_that_may_not_be_written_is_said_before_the_work(
    bucket: str, proxy: Proxy
) -> None:
    def read_only(head: bytes) -> bytes | None:
        return error_answer(403, "AccessDenied") if head.startswith(b"PUT") else None

    proxy(answer=read_only)
    with pytest.raises(UserError, match="denies access"), dataset.making(bucket, print):
        raise AssertionError("the work has begun")


def test_the_server_is_killed_in_mid_upload_and_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = S3Server(tmp_path / "server")
    server.start()
    proxy = FaultProxy(server.port, 0.0)
    for name, value in server.env(proxy.url).items():
        monkeypatch.setenv(name, value)
    bucket = server.bucket()
    store, content = open_store(bucket), os.urandom(6 * PART_BYTES)
    before, begun = retries.total() or 0, proxy.requests
    upload = threading.Thread(target=put, args=(store, "model", content), daemon=True)
    upload.start()
    wait_until(lambda: proxy.requests >= begun + 3, "the first parts")
    server.kill()
    time.sleep(1.0)
    assert upload.is_alive()
    server.start()
    upload.join(PATIENCE_S)
    assert not upload.is_alive()
    store.download("model", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert (retries.total() or 0) > before
    proxy.close()
    server.kill()


def test_uploads_that_broke_off_are_dropped_with_the_rubbish(bucket: str) -> None:
    store = S3Store(bucket + "/set")
    name = bucket.removeprefix("s3://")
    for key in ("set/model", "set-other/model"):
        s3_client.client().create_multipart_upload(Bucket=name, Key=key)
    store.begin_writing()
    store.end_writing()
    left = s3_client.client().list_multipart_uploads(Bucket=name)["Uploads"]
    assert [each["Key"] for each in left] == ["set-other/model"]
    assert not store.unfinished()


def test_a_second_run_on_this_machine_waits(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3Store, "poll_s", 0.1)
    told = threading.Event()

    def second() -> None:
        with dataset.making(bucket, lambda holder: told.set()):
            pass

    with dataset.making(bucket, print):
        waiter = threading.Thread(target=second, daemon=True)
        waiter.start()
        assert told.wait(PATIENCE_S)
        assert waiter.is_alive()
    waiter.join(PATIENCE_S)
    assert not waiter.is_alive()


def test_retries_are_figures_of_the_shard(bucket: str, proxy: Proxy) -> None:
    retries.take()
    seen: list[bytes] = []

    def fail_once(head: bytes) -> bytes | None:
        seen.append(head)
        return error_answer(503, "SlowDown") if len(seen) == 1 else None

    proxy(answer=fail_once)
    assert make_shard(bucket, "a", 3)["figures"] == {"seconds": 1.0, "s3_retries": 1}
    assert make_shard(bucket, "b", 3)["figures"] == {"seconds": 1.0, "s3_retries": 0}


def test_a_browser_is_told_what_a_page_is(bucket: str, tmp_path: Path) -> None:
    store = open_store(f"{bucket}/pages")
    store.replace("index.html", b"<!doctype html>")
    store.put_new("manifest.json", b"{}")
    for name in ("report.html", "report-trees-0001.js", "part.parquet"):
        (tmp_path / name).write_bytes(b"x")
        store.put(name, tmp_path / name)
    name, prefix = uri.split(f"{bucket}/pages")
    found = {
        leaf: s3_client.client().head_object(Bucket=name, Key=f"{prefix}/{leaf}")["ContentType"]
        for leaf in store.names()
    }
    assert found["index.html"] == found["report.html"] == "text/html; charset=utf-8"
    assert found["manifest.json"] == "application/json"
    assert found["report-trees-0001.js"].startswith("text/javascript")
    assert "octet-stream" in found["part.parquet"]
