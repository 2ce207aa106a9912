from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstar_core.errors import UserError
from qstar_core.rollouts import import_file
from qstar_core.rollouts.import_file import ImportedSample, parse, reason
from qstar_core.store import open_store

from .import_rows import MALFORMED, row, write


def test_a_row_is_a_problem_and_its_samples() -> None:
    found = parse(
        row(7, ["a", {"text": "b", "logprob": -2}, {"text": "c", "logprob": None}]).encode(),
        "gsm8k",
    )
    assert found.problem.prompt == "Question: What is 7?\nAnswer:\n"
    assert found.problem.split == "train"
    assert found.samples == (ImportedSample("a"), ImportedSample("b", -2.0), ImportedSample("c"))
    assert found.policy is None
    more = parse(row(7, split="test", policy="gpt", id=3, note=[]).encode(), "gsm8k")
    assert (more.problem.split, more.policy) == ("test", "gpt")
    assert parse(codecs.BOM_UTF8 + row(7).encode(), "gsm8k").problem == found.problem
    assert parse(import_file.EXAMPLE.encode(), "gsm8k").problem.reference == '{"answer":"7"}'


def test_the_hash_of_a_countdown_problem_decides_its_split() -> None:
    line = (
        '{"question": "13 10 9 4 > 24", "reference": {"numbers": [4, 9, 10, 13], "target": 24}, '
        '"samples": ["10 - 4 = 6"], "split": "%s"}'
    )
    own = parse((line % "train").replace(', "split": "train"', "").encode(), "countdown").problem
    other = "test" if own.split == "train" else "train"
    assert parse((line % own.split).encode(), "countdown").problem == own
    with pytest.raises(ValueError, match=f"belongs to split '{own.split}'"):
        parse((line % other).encode(), "countdown")


@pytest.mark.parametrize("says", MALFORMED)
def test_what_is_wrong_is_said(says: str) -> None:
    with pytest.raises(import_file.MALFORMED) as caught:
        parse(MALFORMED[says], "gsm8k")
    assert says in reason(caught.value)


def test_a_line_that_is_too_long_and_a_sample_of_too_many_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="longer than"):
        parse(None, "gsm8k")
    monkeypatch.setattr(import_file, "MAX_STEPS", 3)
    assert parse(row(1, ["a\nb\nc"]).encode(), "gsm8k")
    with pytest.raises(ValueError, match=r"samples\.1 has more than 3 lines"):
        parse(row(1, ["a", "a\nb\nc\nd"]).encode(), "gsm8k")


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=8))
def test_lines_are_found_again_by_their_offset(lines: list[bytes]) -> None:
    file = Path(os.environ["QSTAR_TEST_HOME"]) / f"lines-{os.getpid()}"
    file.write_bytes(b"\n".join(lines))
    found = list(import_file.lines(file))
    assert [line.number for line in found] == [
        n for n, line in enumerate(lines, start=1) if line.strip()
    ]
    content = file.read_bytes()
    for line in found:
        assert line.content is not None
        assert content[line.offset :].startswith(line.content)
        assert line.content.rstrip(b"\n") == lines[line.number - 1]


def test_a_line_that_is_too_long_is_skipped_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_file, "MAX_LINE_BYTES", 10)
    file = write(tmp_path / "f", ["short", "x" * 9, "y" * 10, "z" * 35, "", "end"])
    found = [(line.number, line.content) for line in import_file.lines(file)]
    assert found == [(1, b"short\n"), (2, b"x" * 9 + b"\n"), (3, None), (4, None), (6, b"end\n")]


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", [row(1)])
    assert import_file.sha256(str(file)) == hashlib.sha256(file.read_bytes()).hexdigest()
    before = import_file.sha256(str(file))
    write(file, [row(1), row(2)])
    assert import_file.sha256(str(file)) != before
    for missing in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match=r"rollouts\.import_file: no such file"):
            import_file.sha256(str(missing))


def test_a_compressed_file_is_read_from_the_cache(tmp_path: Path) -> None:
    plain = write(tmp_path / "f.jsonl", [row(1), row(2)])
    packed = tmp_path / "f.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert import_file.uncompressed(str(plain)) == plain
    copy = import_file.uncompressed(str(packed))
    assert copy != packed
    assert copy.read_bytes() == plain.read_bytes()
    assert import_file.uncompressed(str(packed)) == copy
    packed.write_bytes(packed.read_bytes()[:-10])
    with pytest.raises(UserError, match="broken gzip file"):
        import_file.uncompressed(str(packed))


def test_a_file_that_unpacks_to_more_than_the_disk_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "f.jsonl.gz"
    packed.write_bytes(gzip.compress(row(77).encode() + b" " * 5_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5_000_000))
    with pytest.raises(UserError, match="than the cache has room for: 90% of the 5,000") as caught:
        import_file.uncompressed(str(packed))
    assert "QSTAR_CACHE" in caught.value.next_step
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=9_000_000))
    assert import_file.uncompressed(str(packed)).stat().st_size > 5_000_000


def test_a_file_on_s3_is_copied_once(bucket: str, tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", [row(1)])
    store, content = open_store(f"{bucket}/in"), file.read_bytes()
    store.replace("f.jsonl", content)
    uri = f"{bucket}/in/f.jsonl"
    assert import_file.sha256(uri) == hashlib.sha256(content).hexdigest()
    copy = import_file.uncompressed(uri)
    assert copy.read_bytes() == content
    assert import_file.uncompressed(uri) == copy
    store.replace("f.jsonl", content * 2)
    assert import_file.sha256(uri) == hashlib.sha256(content * 2).hexdigest()
    with pytest.raises(UserError, match="no such file"):
        import_file.sha256(f"{bucket}/in/f.json")
