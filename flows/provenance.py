"""What the command line says of checked, compared, traced and unneeded data sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from flows.tables import COMPACT, cell, plain, say
from qstar_core.errors import UserError
from qstar_core.provenance import garbage
from qstar_core.provenance.garbage import Found
from qstar_core.provenance.lineage import COMPLETE, Node, lineage
from qstar_core.provenance.manifests import folder_of, read
from qstar_core.provenance.verify import Verified, verify
from qstar_core.store.uri import removal

KEY_DIGITS = 8  # shown of a key
FIELD_CHARACTERS = 160  # of what decided a data set, in a tree


def show_verified(console: Console, uri: str, deep: bool) -> bool:
    """Checks a data set; returns whether it is intact."""
    with console.status("") as status:
        found = verify(uri, deep, lambda name: status.update(plain(f"reading {name}")))
    print_verified(console, found)
    return all(each.intact for each in found)


def print_verified(console: Console, found: Sequence[Verified]) -> None:
    """What was found in data sets, and what to do about the first that is damaged."""
    table = Table(**COMPACT)
    for name in ("data set", "key"):
        table.add_column(name, no_wrap=True)
    for name in ("files", "MB", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for each in found:
        state = plain("intact", "green") if each.intact else plain("damaged", "red")
        numbers = (f"{each.files:,}", f"{each.bytes / 1e6:,.1f}", f"{each.rows:,}")
        table.add_row(plain(each.kind), plain(each.key[:KEY_DIGITS]), *numbers, state)
    console.print(table)
    for each in found:
        if each.findings:
            say(console, each.uri)
        for finding in each.findings:
            mark = Text("damage  ", "red") if finding.damage else Text("note    ", "dim")
            console.print(mark, end="")
            say(console, f"{finding.file}: {finding.what}")
    damaged = next((each for each in found if not each.intact), None)
    if damaged is not None:
        again = "only then make it anew: the same key gives the same rows"
        say(
            console,
            "Next: mend what is named above (put a file back, rename it, restore a copy)",
            f"      {removal(damaged.uri)}   where nothing can be mended, and {again}",
        )


def show_lineage(console: Console, uri: str, as_json: bool) -> bool:
    """Prints what a data set was made from; returns whether all of it is there."""
    node = lineage(uri)
    if as_json:
        print_json(console, node.to_dict())
        return node.complete
    tree = Tree(_label(node), guide_style="dim")
    _grow(tree, node, {node.uri})
    console.print(tree)
    return node.complete


def print_json(console: Console, value: object) -> None:
    """JSON on standard output, as it is."""
    text = json.dumps(value, indent=1, ensure_ascii=True)
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _grow(tree: Tree, node: Node, shown: set[str]) -> None:
    for each in node.inputs:
        if each.uri in shown:
            tree.add(Text.assemble(_head(each), (" (see above)", "dim")))
            continue
        shown.add(each.uri)
        _grow(tree.add(_label(each)), each, shown)


def _head(node: Node) -> Text:
    return Text.assemble(plain(node.name, "bold"), " ", plain(node.key))


def _label(node: Node) -> Text:
    """Kind, key, rows and date; below them what decided the key."""
    lines = [_head(node)]
    if node.state == COMPLETE:
        lines[0].append_text(plain(f"  {node.rows:,} rows  {node.created}"))
    else:
        lines[0].append_text(plain(f"  {node.state}", "red"))
    lines.append(plain(node.uri, "dim"))
    if node.decided:
        fields = " ".join(f"{name}={json.dumps(value)}" for name, value in node.decided.items())
        lines.append(cell(fields, FIELD_CHARACTERS))
    return Text("\n").join(lines)


def collect(console: Console, out: str, keep: Sequence[str], delete: bool) -> None:
    """Lists what no named run needs, and removes it if asked.

    Args:
        console: to print to.
        out: the output folder.
        keep: configurations and data sets that are needed, with all they were made from.
        delete: whether to remove.
    """
    named = {leaf for each in keep for leaf in _named(each, out)} if keep else None
    found = garbage.survey(out, named)
    console.print(_garbage_table(found))
    needless = [each for each in found if each.state in garbage.REMOVABLE]
    size = sum(each.bytes for each in needless)
    kept = len(found) - len(needless)
    say(console, f"{len(needless)} of {len(found)} not needed, {_megabytes(size)}; {kept} stay.")
    if named is None:
        say(
            console, "No run is named, so every published data set stays: --keep RUN.yaml names one"
        )
    if not delete:
        if needless:
            say(console, "Nothing was removed. Next: the same command with --delete")
        return
    count, freed = garbage.remove(
        found, named or (), lambda each: say(console, f"removed {each.uri}")
    )
    say(console, f"{count} removed, {_megabytes(freed)} freed.")


def _named(keep: str, out: str) -> Iterable[str]:
    """Stages and keys that a configuration or a data set names."""
    from qstar_core.config_file import load_config

    folder = folder_of(keep)
    if keep.endswith((".yaml", ".yml")):
        return garbage.planned(load_config(keep), out)
    read(folder)  # says what is not there
    found = garbage.leaf_of(folder)
    if found is None:
        raise UserError(
            f"--keep {keep} is no data set of an output folder",
            next_step=f"qstar gc {out} --keep RUN.yaml",
        )
    return {found}


def _garbage_table(found: Sequence[Found]) -> Table:
    table = Table(**COMPACT)
    for name in ("data set", "key", "state", "run"):
        table.add_column(name, no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("")
    for each in found:
        stage, _, key = each.leaf.partition("/")
        style = "red" if each.state in garbage.REMOVABLE else ""
        table.add_row(
            plain(stage),
            plain(key[:KEY_DIGITS]),
            plain(each.state, style),
            plain(each.run),
            f"{each.bytes / 1e6:,.1f}",
            plain(each.said or each.created, "dim"),
        )
    return table


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
