from __future__ import annotations

import math
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstar_core.errors import UserError
from qstar_core.provenance import rows
from qstar_core.provenance.diff import FIRST, Difference, diff
from qstar_core.provenance.manifests import Damaged

from .runs import config_of, flip, make, publish

Row = dict[str, Any]

STEPS = pa.list_(pa.struct([("text", pa.string()), ("logprob", pa.float64())]))
SCHEMA = pa.schema(
    [("rollout_id", pa.string()), ("x", pa.float64()), ("n", pa.int32()), ("steps", STEPS)]
)
FLOATS = st.sampled_from([0.0, 1.0, -2.5, math.nan, None])
STEP = st.tuples(st.sampled_from(["a", "b", None]), FLOATS).map(
    lambda step: dict(zip(("text", "logprob"), step, strict=True))
)
CONTENT = st.tuples(FLOATS, st.integers(0, 3) | st.none(), st.lists(STEP, max_size=2)).map(
    lambda row: dict(zip(("x", "n", "steps"), row, strict=True))
)
DATA = st.dictionaries(st.integers(0, 30).map(str), CONTENT, min_size=1, max_size=20)


def tables(data: dict[str, Row], sizes: int) -> list[pa.Table]:
    """Shards of so many rows each, in the order of the data."""
    found = [{"rollout_id": name, **row} for name, row in data.items()]
    parts = [found[k : k + sizes] for k in range(0, len(found), sizes)]
    return [pa.Table.from_pylist(part, schema=SCHEMA) for part in parts]


def unequal(one: Row, other: Row) -> list[str]:
    """The columns in which two rows differ; NaN equals NaN."""
    return [name for name in ("x", "n", "steps") if repr(one[name]) != repr(other[name])]


def plainly(a: dict[str, Row], b: dict[str, Row]) -> Difference:
    """The same by dictionaries."""
    both = [name for name in a if name in b]
    differ = [name for name in both if unequal(a[name], b[name])]
    columns = Counter(column for name in differ for column in unequal(a[name], b[name]))
    alike = set(a) == set(b)
    places = {name: place for place, name in enumerate(b)}
    return Difference(
        a="",
        b="",
        by=[],
        rows=(len(a), len(b)),
        equal=len(both) - len(differ),
        different=len(differ),
        only=(len(a) - len(both), len(b) - len(both)),
        moved=sum(places[n] != k for k, n in enumerate(a)) if alike else 0,
        columns=columns,
    )


COMPARED = ("rows", "equal", "different", "only", "moved", "columns")


@settings(max_examples=30)
@given(
    a=DATA,
    changes=DATA,
    gone=st.sets(st.integers(0, 30).map(str)),
    order=st.randoms(use_true_random=False),
    shuffled=st.booleans(),
    sizes=st.tuples(st.integers(4, 20), st.integers(4, 20)),
    batch=st.integers(1, 7),
    waiting=st.sampled_from([0, 600, 2**30]),
)
def test_as_a_comparison_of_dictionaries(
    a: dict[str, Row],
    changes: dict[str, Row],
    gone: set[str],
    order: random.Random,
    shuffled: bool,
    sizes: tuple[int, int],
    batch: int,
    waiting: int,
) -> None:
    b = {n: row for n, row in {**a, **changes}.items() if n not in gone} or changes
    if shuffled:
        names = list(b)
        order.shuffle(names)
        b = {name: b[name] for name in names}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BATCH_ROWS", batch)
        patch.setattr(rows, "WAITING_BYTES", waiting)
        patch.setattr(rows, "MOST_PASSES", 4 if waiting == 0 else 4**6)
        uris = [
            publish(f"{folder}/{name}", tables(data, size))
            for name, data, size in (("a", a, sizes[0]), ("b", b, sizes[1]))
        ]
        try:
            found = diff(*uris)
        except rows.TooFarApart:
            assert waiting == 0
            return
    wanted = plainly(a, b)
    for name in COMPARED:
        assert getattr(found, name) == getattr(wanted, name), name
    names = [n for n in a if n in b and unequal(a[n], b[n])]
    assert [row["rollout_id"] for row in found.first] == names[:FIRST]
    for row in found.first:
        name = row["rollout_id"]
        values = {c: [a[name][c], b[name][c]] for c in unequal(a[name], b[name])}
        assert repr(row["columns"]) == repr(values)
    only_a, only_b = ([row["rollout_id"] for row in side] for side in found.first_only)
    assert only_a == [n for n in a if n not in b][:FIRST]
    assert only_b == [n for n in b if n not in a][:FIRST]
    assert found.same_rows == (wanted.different == 0 and wanted.only == (0, 0))


def one(tmp_path: Path, name: str, kind: str = "rollouts", **columns: Any) -> str:
    return publish(str(tmp_path / name), [pa.table(columns)], kind)


def test_a_data_set_equals_itself(whole: Path) -> None:
    for stage, count in (("problems", 16), ("rollouts", 48), ("labels", None)):
        (uri,) = (whole / stage).iterdir()
        found = diff(str(uri), f"{uri}/manifest.json")
        assert found.same
        assert count is None or found.equal == count
        assert not (found.columns or found.reasons or found.first or found.schema)


def test_many_passes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {str(k): {"x": float(k), "n": k % 5, "steps": []} for k in range(3000)}
    turned = {n: {**data[n], "n": 9 if n == "7" else data[n]["n"]} for n in reversed(data)}
    uris = [
        publish(str(tmp_path / name), tables(rows_, 500))
        for name, rows_ in (("a", data), ("b", turned))
    ]
    monkeypatch.setattr(rows, "BATCH_ROWS", 100)
    once = diff(*uris)
    passes: list[int] = []
    single = rows.pairs

    def counted(*arguments: Any) -> Any:
        passes.append(arguments[-1])
        return single(*arguments)

    monkeypatch.setattr(rows, "pairs", counted)
    monkeypatch.setattr(rows, "WAITING_BYTES", 40_000)
    often = diff(*uris)
    assert max(passes) > 1
    assert (often.equal, often.different, often.moved) == (2999, 1, 3000)
    for name in (*COMPARED, "first", "reasons", "largest"):
        assert getattr(often, name) == getattr(once, name)


def test_against_nothing_all_rows_are_in_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {str(k): {"x": 1.0, "n": k, "steps": []} for k in range(500)}
    a = publish(str(tmp_path / "a"), tables(data, 100))
    b = publish(str(tmp_path / "b"), [SCHEMA.empty_table()])
    monkeypatch.setattr(rows, "WAITING_BYTES", 8_000)
    for found, only in ((diff(a, b), (500, 0)), (diff(b, a), (0, 500))):
        assert (found.only, found.equal, found.same_rows) == (only, 0, False)


def test_columns_of_numbers_tell_their_largest_difference(tmp_path: Path) -> None:
    a = one(tmp_path, "a", rollout_id=["1", "2", "3"], x=[1.0, 2.0, math.nan], n=[1, 2, None])
    b = one(tmp_path, "b", rollout_id=["1", "2", "3"], x=[1.5, 1.0, math.nan], n=[1, 5, 3])
    found = diff(a, b)
    assert found.largest == {"x": 1.0, "n": 3.0}
    assert found.columns == {"x": 2, "n": 2}
    assert found.reasons == {"x": 1, "x, n": 1, "n": 1}


def test_schemas_are_compared_and_other_types_of_equal_values_are_no_other_rows(
    tmp_path: Path,
) -> None:
    words = pa.array(["a", "b"])
    a = one(
        tmp_path, "a", rollout_id=["1", "2"], word=words, n=pa.array([1, 2], pa.int32()), p=[1, 1]
    )
    b = one(
        tmp_path,
        "b",
        rollout_id=["1", "2"],
        word=words.dictionary_encode(),
        n=pa.array([1, 2], pa.int64()),
        q=[1, 1],
    )
    found = diff(a, b)
    assert found.same_rows and not found.same
    assert [name for name, *_ in found.schema] == ["n", "p", "q"]
    assert found.schema[1][2] == "none"


def test_ids_of_another_type_still_match(tmp_path: Path) -> None:
    a = one(tmp_path, "a", rollout_id=["1"], k=pa.array([3], pa.int32()), y=[0.5])
    b = one(tmp_path, "b", rollout_id=["1"], k=pa.array([3], pa.int64()), y=[0.5])
    assert diff(a, b, ["rollout_id", "k"]).equal == 1


def test_measured_columns_are_left_out_and_named(tmp_path: Path) -> None:
    a = one(tmp_path, "a", rollout_id=["1"], seconds=[1.0])
    b = one(tmp_path, "b", rollout_id=["1"], seconds=[2.0])
    found = diff(a, b)
    assert found.same
    assert found.left_out == ["seconds"]


def test_columns_that_do_not_tell_rows_apart_are_refused(tmp_path: Path) -> None:
    a = one(tmp_path, "a", rollout_id=["1", "1"], n=[1, 2])
    b = one(tmp_path, "b", rollout_id=["1", "2"], n=[1, 2])
    with pytest.raises(UserError, match="several rows with rollout_id 1") as caught:
        diff(a, b)
    assert "--by" in caught.value.next_step
    with pytest.raises(UserError, match="several rows"):
        diff(b, a)
    assert diff(a, b, ["n"]).columns == {"rollout_id": 1}
    with pytest.raises(UserError, match="no column m; there are rollout_id, n"):
        diff(a, b, ["m"])


def test_kinds_that_cannot_be_compared_are_said(tmp_path: Path, whole: Path) -> None:
    (problems,), (rollouts,) = ((whole / s).iterdir() for s in ("problems", "rollouts"))
    with pytest.raises(UserError, match=r"has problems, .* has rollouts"):
        diff(str(problems), str(rollouts))
    assert diff(str(problems), str(problems), ["problem_id"]).same
    odd = one(tmp_path, "a", "odd", id=["1"])
    with pytest.raises(UserError, match="kind odd"):
        diff(odd, odd)
    pool = one(tmp_path, "b", "pool_states", rollout_id=["1"])
    assert diff(pool, pool).same
    source = Path(__file__).parents[2] / "qstar_core" / "reference" / "countdown-policy"
    with pytest.raises(UserError, match="no rows to compare"):
        diff(str(source), str(source))


def test_a_file_that_cannot_be_read_is_damage(whole: Path, tmp_path: Path) -> None:
    a = publish(str(tmp_path / "a"), tables({"1": {"x": 1.0, "n": 1, "steps": []}}, 1))
    b = publish(str(tmp_path / "b"), tables({"1": {"x": 1.0, "n": 2, "steps": []}}, 1))
    (part,) = Path(b).glob("*.parquet")
    for position in range(4, 60):
        flip(part, position, 255)
    with pytest.raises(Damaged, match="cannot be read") as caught:
        diff(a, b)
    assert caught.value.next_step == f"qstar verify {b}"


LABELS = {"rollout_id": ["1", "2", "3", "4"], "step_index": pa.array([1] * 4, pa.int32())}


def labels(tmp_path: Path, name: str, **columns: Any) -> str:
    given: dict[str, Any] = {
        "y": [1.0, 0.0, 0.0, 0.0],
        "gamma": [1.0] * 4,
        "method": ["best_of_rollouts"] * 4,
        "n_samples": [2] * 4,
        "successes": [1, 0, 0, 0],
        "success_low": [0.1, 0.0, 0.0, 0.0],
        "outcome": ["correct", "wrong", "wrong", "wrong"],
        "grader_version": ["1"] * 4,
    }
    return one(tmp_path, name, "labels", **LABELS, **{**given, **columns})


def test_a_regraded_set_says_which_labels_changed_and_why(tmp_path: Path) -> None:
    before = labels(tmp_path, "a")
    after = labels(
        tmp_path,
        "b",
        y=[1.0, 1.0, 1.0, 0.0],
        outcome=["correct", "correct", "wrong", "wrong"],
        successes=[1, 1, 1, 0],
        success_low=[0.1, 0.1, 0.1, 0.0],
        grader_version=["2"] * 4,
    )
    found = diff(before, after)
    grader = "grader_version 1 -> 2"
    assert found.reasons == {
        f"y changed: other outcomes in its pool, outcome wrong -> correct, {grader}": 1,
        f"y changed: other outcomes in its pool, {grader}": 1,
        f"y as before: {grader}": 2,
    }
    assert [row["rollout_id"] for row in found.first] == ["2", "3", "1", "4"]
    assert found.first[1]["columns"]["y"] == [0.0, 1.0]


def test_a_relabelled_set_says_so(tmp_path: Path) -> None:
    before = labels(tmp_path, "a")
    after = labels(tmp_path, "b", y=[0.5, 0.0, 0.0, 0.0], gamma=[0.5] * 4)
    assert diff(before, after).reasons == {
        "y changed: gamma 1.0 -> 0.5": 1,
        "y as before: gamma 1.0 -> 0.5": 3,
    }
    pool = labels(tmp_path, "c", n_samples=[2, 2, 2, 4])
    assert diff(before, pool).reasons == {"another number of samples": 1}
    alone = labels(tmp_path, "d", y=[0.5, 0.0, 0.0, 0.0])
    assert diff(before, alone).reasons == {"y changed": 1}


def test_relabelling_a_run_with_another_gamma(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "out")
    out = str(tmp_path / "out")
    first = make(config_of(out))["labels"]
    second = make(config_of(out, labels={"gamma": 0.5}))["labels"]
    found = diff(first.uri, second.uri)
    assert found.different == found.rows[0] == found.rows[1]
    assert all("gamma 1.0 -> 0.5" in words for words in found.reasons)


def test_on_s3(bucket: str, tmp_path: Path) -> None:
    whole, other = (
        {str(k): {"x": 1.0, "n": min(k, most), "steps": []} for k in range(9)} for most in (9, 7)
    )
    a = publish(f"{bucket}/a", tables(whole, 4))
    b = publish(str(tmp_path / "b"), tables(other, 4))
    found = diff(a, b)
    assert (found.equal, found.different) == (8, 1)
    assert found.first[0]["columns"] == {"n": [8, 7]}
