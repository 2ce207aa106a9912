"""What stands for words in capitals, where a reader of the pages puts something of his own."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import commands
from tests.docs.shop import nth

ALL = {
    "train-adaptive CONFIG": "train-adaptive deployments/adaptive-search.yaml",
    "diff A B": "diff results/demo/labels/KEY results/demo/labels/OTHER",
    "--against OTHER": "--against results/yesterday",
    "prm.path=FOLDER": "prm.path=results/demo/prm/KEY",
    "fetch s3://qstar/demo/rollouts/KEY FOLDER": "fetch s3://qstar/demo/rollouts/KEY fetched",
    "RUN.yaml": "deployments/demo.yaml",
    "CONFIG": "mine.yaml",
    "DATASET": "results/demo/labels/KEY",
    "OUT": "results/demo",
}
OF_PAGE = {
    "adaptive.md": {"CONFIG": "deployments/adaptive-search.yaml"},
    "domains.md": {"CONFIG": "plain.yaml"},
    "importing.md": {"CONFIG": "deployments/import-example.yaml"},
    "reproduce-papers.md": {"CONFIG": "scripted.yaml"},
    "serving.md": {"CONFIG": "served.yaml"},
}
"""Instead of those, where a page speaks of something else."""

KNOWN = {
    "README.md": "folder, text = 'results/demo/qvm/KEY', '1 2 > 3\\n'\n",
    "adaptive.md": "from qstar_core.adaptive.actions import ActionSpace, Factor\n",
    "results.md": "folder = uri = 'results/demo/evaluation/KEY'\n",
    "training.md": "folder, text = 'results/demo/qvm/KEY', '1 2 > 3\\n'\n",
}
"""What the Python of a page takes as known."""

START, END = r"(?<![\w$/.-])", r"(?![\w=*])"
DATA_SET = re.compile(r"((?:s3://qstar/demo|results/[\w-]+)/\w+)/(KEY|OTHER)(?!\w)")
LEFT = re.compile(r"(?<![\w$'\"-])[A-Z][A-Z_]*(?![\w=*'\"])")
DIFFERS = re.compile(r"(?m)^(qstar diff .*?)(?=\s*(?:#|$))")


def filled(text: str, page: str, folder: Path | None = None) -> str:
    """A block as a reader would type it.

    In a script the data set that a key stands for is looked for when its command is run: a command
    before it may make it. Two data sets that differ are no failure of a page.

    Args:
        text: of the block.
        page: its file's name.
        folder: of Python, where it is run and the data sets are; None for a script.

    Raises:
        ValueError: nothing is known to stand for a word in capitals.
    """
    words = ALL | OF_PAGE.get(page, {})
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(START + re.escape(word) + END, words[word].replace("\\", r"\\"), text)
    if folder is not None:
        text = DATA_SET.sub(lambda f: nth(str(folder / f[1]), int(f[2] == "OTHER")), text)
        left = re.findall(r"(?<=/)(?:KEY|OTHER)\b", text)
    else:
        text = DATA_SET.sub(lambda f: f"$(nth {f[1]} {int(f[2] == 'OTHER')})", text)
        left = [word for words in commands(text) for one in words for word in LEFT.findall(one)]
        text = DIFFERS.sub(r"\1 || test $? = 1", text)
    if left:
        raise ValueError(f"tests/docs/words.py does not say what {left[0]} stands for")
    return text
