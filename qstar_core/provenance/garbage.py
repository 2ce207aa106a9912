"""What an output folder holds that no named run needs, and its removal.

Needed is what the named configurations plan, runs and comparisons alike, whatever is there of it;
named data sets; and all that these were made from. Where nothing is named every published data
set counts as needed. Only folders ``{kind}/{key}`` of the kinds that qstar makes are looked at:
nothing else is its own.

What is being made now is never removed. A run that makes a data set nobody named may read others
that nobody named: while there is one, no published data set is removed.
"""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qstar_core import pipeline
from qstar_core.config import RunConfig
from qstar_core.domains import problem_sets
from qstar_core.errors import UserError
from qstar_core.provenance.manifests import (
    PLACE,
    Damaged,
    Manifest,
    inputs,
    mentioned,
    place,
    read,
)
from qstar_core.stage import ROWS_VERSION
from qstar_core.store import open_store
from qstar_core.store.dataset import MANIFEST
from qstar_core.store.local import SCRATCH
from qstar_core.store.lock import hold, is_held
from qstar_core.store.uri import is_remote, join

State = Literal["needed", "unneeded", "leftover", "being made", "unfinished"]
"""Leftover: no manifest, and not planned. Unfinished: no manifest, but a named run goes on with
it. On S3 what another machine has begun counts as being made, since its locks are not seen here."""
REMOVABLE = ("unneeded", "leftover")
MARK = f"{SCRATCH}/run"


@dataclass(frozen=True)
class Found:
    """A data set, or what there is of one.

    Attributes:
        uri: its folder.
        leaf: stage and key.
        state: whether it is needed.
        bytes: of all its files, those that are still being written included.
        run: name of the run that made it; empty where that is not known.
        created: when it was published; empty where it was not.
        said: what else is to be known, such as who is making it.
        damaged: whether it has a manifest that cannot be read.
    """

    uri: str
    leaf: str
    state: State
    bytes: int
    run: str = ""
    created: str = ""
    said: str = ""
    damaged: bool = False


def planned(config: RunConfig, out: str) -> set[str]:
    """Stages and keys of a run and of its comparison, as if ``out`` were the output folder.

    Where nothing is held out to evaluate on they end with the Q-value model.

    Raises:
        UserError: as `pipeline.plan`: what a run needs is only known with its models and files.
    """
    config = config.model_copy(update={"out": out})
    if problem_sets.count(config.domain, "test"):
        every = [each.stages for each in pipeline.rounds(config)] + [
            pipeline.plan_comparison(config)
        ]
        stages = [stage for each in every for stage in each.values()]
        whole = pipeline.summary(config)
        stages += [] if whole is None else [whole]
    else:
        last = "qvm" if config.qvm.path is None else "problems"
        stages = list(pipeline.plan(config, until=last).values())
    if config.adaptive is not None:
        stages += pipeline.plan(config, until="adaptive").values()
    served = config.policy.without_weights  # whose weights need not be at hand
    if config.prm.path is None and not (served and config.prm.init is None):  # of train-prm
        stages += pipeline.plan(config, until="prm").values()
    if config.qvm.path is None and not (served and config.sft.base is None):  # of train-policy
        stages += pipeline.plan_policy(config).values()
    here = {_leaf(stage.uri) for stage in stages}
    return here | {_leaf(uri) for uri in mentioned(config.model_dump(mode="json"))}


def _leaf(uri: str) -> str:
    return "/".join(uri.rstrip("/").split("/")[-2:])


def survey(out: str, named: Iterable[str] | None) -> list[Found]:
    """All data sets of an output folder and whether they are needed.

    Args:
        out: folder or ``s3://bucket/prefix``.
        named: stages and keys of what is named, see `planned`; None where nothing is.

    Raises:
        UserError: there is no such folder.
    """
    out = out.rstrip("/") or "/"
    sizes = _sizes(out)
    manifests = {leaf: _manifest(join(out, leaf)) for leaf in sizes if MANIFEST in sizes[leaf]}
    wanted = None if named is None else _closure(out, set(named), manifests)
    found = []
    for leaf in sorted(sizes):
        uri, total = join(out, leaf), sum(sizes[leaf].values())
        if leaf in manifests:
            state: State = "needed" if wanted is None or leaf in wanted else "unneeded"
            found.append(_published(uri, leaf, state, total, manifests[leaf]))
        else:
            found.append(_unpublished(uri, leaf, total, sizes[leaf], wanted))
    return found


def _sizes(out: str) -> dict[str, dict[str, int]]:
    """Bytes by name of each folder ``{kind}/{key}`` of a kind that qstar makes."""
    if is_remote(out):
        open_store(out).check("OUT")
    elif not Path(out).is_dir():
        raise UserError(f"no such folder: {out}", next_step="name the out of a run, with its data")
    sizes: dict[str, dict[str, int]] = defaultdict(dict)
    for name, size in open_store(out).everything().items():
        kind, _, rest = name.partition("/")
        key, _, file = rest.partition("/")
        if file and kind in ROWS_VERSION and PLACE.fullmatch(f"{kind}/{key}"):
            sizes[f"{kind}/{key}"][file] = size
    return sizes


def _manifest(uri: str) -> Manifest | None:
    """A manifest; None for a damaged one, but an error where storage does not answer."""
    try:
        return read(uri)
    except Damaged:
        return None


def _closure(out: str, wanted: set[str], manifests: dict[str, Manifest | None]) -> set[str]:
    """With all that the wanted ones were made from."""
    waiting, found = list(wanted), set[str]()
    while waiting:
        leaf = waiting.pop()
        if leaf in found:
            continue
        found.add(leaf)
        manifest = manifests.get(leaf)
        if manifest is not None:
            below = inputs(_absolute(join(out, leaf)), manifest).values()
            waiting += [_leaf(uri) for uri in (*below, *mentioned(manifest.get("config", {})))]
    return found


def _absolute(uri: str) -> str:
    return uri if is_remote(uri) else os.path.abspath(uri)


def _published(uri: str, leaf: str, state: State, total: int, manifest: Manifest | None) -> Found:
    if manifest is None:
        return Found(uri, leaf, state, total, said=f"its {MANIFEST} is damaged", damaged=True)
    run = str(manifest.get("config", {}).get("name", ""))
    return Found(uri, leaf, state, total, run, str(manifest.get("created", "")))


def _unpublished(
    uri: str, leaf: str, total: int, sizes: dict[str, int], wanted: set[str] | None
) -> Found:
    store = open_store(uri)
    lock = store.lock_path()
    if is_held(lock):
        return Found(uri, leaf, "being made", total, said=_text(lock))
    if wanted is not None and leaf in wanted:
        return Found(uri, leaf, "unfinished", total, said="a named run goes on with it")
    if is_remote(uri) and MARK in sizes:  # the lock keeps apart the runs of one machine only
        by = store.read(MARK).decode(errors="replace").strip()
        if f" on {platform.node()} " not in by:
            return Found(uri, leaf, "being made", total, said=f"perhaps, by {by}")
    return Found(uri, leaf, "leftover", total, said="no manifest: it was never finished")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def remove(
    found: Sequence[Found], named: Iterable[str], told: Callable[[Found], None]
) -> tuple[int, int]:
    """Removes what is not needed.

    A data set's manifest goes first: what is left after a crash is a leftover, never a complete
    data set with files missing.

    Args:
        found: by `survey`.
        named: stages and keys of what is named; a run that makes one of them may go on.
        told: called with each one that was removed.

    Returns:
        Data sets and bytes removed.

    Raises:
        UserError: what is needed is not known, because a run that is not named is making
            something, or the manifest of a needed data set is damaged; nothing was removed.
    """
    if any(each.state == "unneeded" for each in found):
        _check_known(found, set(named))
    count = freed = 0
    for each in found:
        if each.state in REMOVABLE and _remove(each.uri):
            count, freed = count + 1, freed + each.bytes
            told(each)
    return count, freed


def _check_known(found: Sequence[Found], named: set[str]) -> None:
    """Makes sure that it is known of every data set that is read what it is made from."""
    for each in found:
        if each.state == "being made" and each.leaf not in named:
            raise UserError(
                f"{each.uri} is being made ({each.said}): what that run reads is not known",
                safe="nothing was removed",
                next_step="wait for that run to end, or name its configuration with --keep; "
                f"if it is dead, remove {each.uri} by hand",
            )
        if each.state == "needed" and each.damaged:
            raise UserError(
                f"{each.uri} is needed, but its manifest is damaged: what it was made from is "
                "not known",
                safe="nothing was removed",
                next_step=f"qstar verify {each.uri}",
            )


def _remove(uri: str) -> bool:
    """Removes a data set; False where a run has just begun to make it."""
    store = open_store(uri)
    held = hold(store.lock_path())
    if held is None:
        return False
    try:
        store.delete(MANIFEST)
        store.remove()
    finally:
        os.close(held)
    return True


def leaf_of(uri: str) -> str | None:
    """Stage and key of a data set; None where it is a copy elsewhere."""
    where = place(_absolute(uri))
    return None if where is None else f"{where[1]}/{where[2]}"
