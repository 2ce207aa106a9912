"""How large a report is and how soon it can be used, as problems grow.

Usage: python benchmarks/report_page.py [--problems 200,2000] [--nodes 40] [--letters 24]

The searches are made up: three methods per problem, each with a tree of so many nodes whose texts
have so many letters. For each size: seconds to write the page, its bytes, the bytes of the files
beside it, and, in headless Chromium, milliseconds until the list and the first tree can be used
(the mark ``ready`` of the page's script, counted from the start of the navigation) and until a
search over all texts of the list has answered.

The last line says how often as long the largest page takes as the smallest one.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402

from qstar_core.evaluation.compare import accuracy_by_tokens, compare  # noqa: E402
from qstar_core.evaluation.report import ReportData, render  # noqa: E402
from qstar_core.evaluation.run import SCHEMA  # noqa: E402

METHODS = (("greedy", "greedy", 0.45), ("best-of-N", "best_of_n", 0.65), ("A*", "astar", 0.8))
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 +-*/=|"
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
READY = "const m = performance.getEntriesByName('ready'); return m.length ? m[0].startTime : 0"
SEARCH = """
const done = arguments[0], field = document.getElementById("find");
const start = performance.now();
field.value = "zzz";
field.dispatchEvent(new Event("input"));
setTimeout(() => done(performance.now() - start), 0);
"""


def searches(problems: int, nodes: int, letters: int) -> pl.DataFrame:
    """Made-up searches, the same for the same arguments."""
    rng = random.Random(0)
    rows = []
    for problem in range(problems):
        prompt = text(rng, 2 * letters)
        for name, algorithm, share in METHODS:
            rows.append(
                search(rng, f"{problem:024x}", prompt, name, algorithm, share, nodes, letters)
            )
    return pl.DataFrame(pa.Table.from_pylist(rows, schema=SCHEMA))


def text(rng: random.Random, letters: int) -> str:
    """Random letters."""
    return "".join(rng.choices(LETTERS, k=letters))


def search(
    rng: random.Random,
    problem: str,
    prompt: str,
    name: str,
    algorithm: str,
    share: float,
    nodes: int,
    letters: int,
) -> dict[str, Any]:
    """One search whose first nodes are the returned path."""
    right = rng.random() < share
    tree = []
    for number in range(nodes):
        on_path = number < 4
        tree.append(
            {
                "node": number,
                "parent": number - 1 if on_path else rng.randrange(max(1, number - 1)),
                "text": prompt if number == 0 else text(rng, letters) + "\n",
                **{figure: rng.random() for figure in ("q", "reward", "g", "h", "f")},
                "order": number if number < nodes // 3 else -1,
                "tokens": 8 * number,
                "terminal": number == 3,
                "chosen": on_path,
                "logprob": -rng.random(),
                "step_tokens": 8,
                "ended": number == 3,
                "correct": right if number == 3 else None,
            }
        )
    steps = [node["text"] for node in tree[1:4]]
    return {
        "problem_id": problem,
        "prompt": prompt,
        "reference": "24",
        "method": name,
        "algorithm": algorithm,
        "outcome": "correct" if right else "wrong",
        "answer": steps[-1],
        "reason": "",
        "steps": steps,
        "score": tree[3]["f"],
        "policy_tokens": 8 * nodes,
        "value_calls": nodes,
        "expansions": nodes // 3,
        "finished": 1,
        "stop_reason": "budget",
        "first_correct": None,
        "anytime": [{"tokens": 24, "correct": right}],
        "nodes": tree,
        "exchanges": None,
    }


def page(frame: pl.DataFrame, folder: Path) -> tuple[float, int, int]:
    """Writes the report; seconds, bytes of the page, bytes beside it."""
    seconds = {name: 1.0 for name, _, _ in METHODS}
    data = ReportData(
        name="made-up", key="0" * 24, created="2025-06-30T00:00:00+00:00", command="qstar run",
        config={}, lineage=[], environment={}, qvm={}, searches=frame,
        comparison=compare(frame, seconds, "best-of-N", resamples=1000),
        curve=accuracy_by_tokens(frame),
        shown=frame["problem_id"].unique(maintain_order=True).to_list(),
    )  # fmt: skip
    beside: dict[str, str] = {}
    start = time.perf_counter()
    text = render(data, beside)
    taken = time.perf_counter() - start
    for name, content in beside.items():
        (folder / name).write_text(content, encoding="utf-8")
    size = (folder / "report.html").write_text(text, encoding="utf-8")
    return taken, size, sum(len(content) for content in beside.values())


def in_browser(address: str) -> tuple[float, float]:
    """Milliseconds to ``ready`` and of a search; the best of three loads."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(300)
    ready, answered = [], []
    try:
        for _ in range(3):
            driver.get("about:blank")
            driver.get(address)
            WebDriverWait(driver, 300).until(lambda d: d.execute_script(READY))
            ready.append(float(driver.execute_script(READY)))
            answered.append(float(driver.execute_async_script(SEARCH)))
    finally:
        driver.quit()
    return min(ready), min(answered)


def main() -> None:
    """Measures each size and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--problems", default="200,2000")
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--letters", type=int, default=24)
    given = parser.parse_args()
    heads = ("problems", "write, s", "page, MB", "beside, MB", "ready, ms", "search, ms")
    print("".join(f"{head:>12}" for head in heads))
    found = []
    for problems in (int(each) for each in given.problems.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            taken, size, beside = page(searches(problems, given.nodes, given.letters), Path(folder))
            ready, answered = in_browser((Path(folder) / "report.html").as_uri())
        found.append((problems, ready))
        cells = (f"{problems:,}", f"{taken:.1f}", f"{size / 1e6:.2f}", f"{beside / 1e6:.2f}")
        print("".join(f"{cell:>12}" for cell in (*cells, f"{ready:.0f}", f"{answered:.1f}")))
    (few, first), (many, last) = found[0], found[-1]
    print(f"{many:,} problems are ready after {last / first:.2f} times as long as {few:,}")


if __name__ == "__main__":
    main()
