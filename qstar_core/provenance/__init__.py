"""Where data sets come from: check them, compare them, walk back from them, make them again.

`verify` compares the files with the manifest, `diff` two data sets by the ids of their rows,
`lineage` follows the keys of the inputs back to the problems, `rerun` plans what a manifest
describes once more, `garbage` finds what no named run needs.
"""
