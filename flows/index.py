"""``qstar index``: the page of all runs in an output folder or bucket."""

from __future__ import annotations

import shlex
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from flows.tables import say
from qstar_core.evaluation.index_page import render
from qstar_core.provenance.runs import runs
from qstar_core.store import open_store
from qstar_core.store.uri import is_remote, join

PAGE = "index.html"


def index(console: Console, out: str) -> None:
    """Writes ``index.html`` into an output folder or bucket, in the place of an older one.

    Args:
        console: to print to.
        out: folder or ``s3://bucket/prefix``.

    Raises:
        UserError: the place cannot be reached, or nothing in it was evaluated.
    """
    found = runs(out)
    text = render(found, out, datetime.now(UTC).isoformat(timespec="seconds"))
    with tempfile.TemporaryDirectory(dir=None if is_remote(out) else out) as folder:
        page = Path(folder) / PAGE  # on the device of a local folder, so that it can be renamed
        page.write_text(text, encoding="utf-8")
        open_store(out).put(PAGE, page)
    for name, nights in found["nights"].items():
        changed = [night for night in nights if night["changes"]]
        runs_made = f"{len(nights):,} run{'' if len(nights) == 1 else 's'}"
        say(console, f"{name}: {runs_made}, {len(changed):,} with another configuration")
        for night in changed:
            what = "; ".join(f"{c['field']}: {c['other']} -> {c['this']}" for c in night["changes"])
            say(console, f"   {night['date']}  {what}")
    for problem in found["unread"]:
        say(console, f"Note: left out, because it cannot be read: {problem}")
    place = join(out, PAGE)
    if is_remote(out):
        copy = f"aws s3 sync {shlex.quote(out)} FOLDER --exclude '*.parquet'"
        following = f"{copy}   (then open FOLDER/{PAGE}), or a web site of the bucket"
    else:
        following = f"open {Path(place).absolute().as_uri()}"
    say(console, f"Index      {place}", f"Next: {following}")
