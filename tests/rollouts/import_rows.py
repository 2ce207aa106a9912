"""Files of imported rollouts for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def row(number: int, samples: Sequence[Any] = ("#### 1", "2 + 2 = 4\n#### 2"), **more: Any) -> str:
    """A row of GSM8K's kind; the problem's answer is its number."""
    fields = {"question": f"What is {number}?", "reference": number, "samples": list(samples)}
    return json.dumps({**fields, **more})


def write(file: Path, lines: Sequence[str | bytes]) -> Path:
    """A file with these lines."""
    content = [line if isinstance(line, bytes) else line.encode() for line in lines]
    file.write_bytes(b"".join(line + b"\n" for line in content))
    return file


MALFORMED: dict[str, bytes] = {
    "not JSON": b'{"question": "?", ',
    "not JSON: Expecting value": b"hello",
    "not a JSON object": b"[1, 2]",
    "field 'question' is missing": b'{"reference": 1, "samples": ["a"]}',
    "field 'reference' is missing": b'{"question": "?", "samples": ["a"]}',
    "field 'samples' is missing": b'{"question": "?", "reference": 1}',
    "question must be a text, got 5": b'{"question": 5, "reference": 1, "samples": ["a"]}',
    "the question is empty": b'{"question": " ", "reference": 1, "samples": ["a"]}',
    "no number in the reference": b'{"question": "?", "reference": "x", "samples": ["a"]}',
    "reference must be a number": b'{"question": "?", "reference": null, "samples": ["a"]}',
    "samples must be a list": b'{"question": "?", "reference": 1, "samples": "a"}',
    "samples is empty": b'{"question": "?", "reference": 1, "samples": []}',
    "samples.1 is neither": b'{"question": "?", "reference": 1, "samples": ["a", 7]}',
    "samples.0 is neither": b'{"question": "?", "reference": 1, "samples": [{"txt": "a"}]}',
    "samples.0.logprob must be a number": b'{"question": "?", "reference": 1, "samples": '
    b'[{"text": "a", "logprob": "b"}]}',
    "samples.0.logprob must be finite": b'{"question": "?", "reference": 1, "samples": '
    b'[{"text": "a", "logprob": -Infinity}]}',
    "int too large": b'{"question": "?", "reference": 1, "samples": [{"text": "a", "logprob": 1'
    + b"0" * 400
    + b"}]}",
    "not UTF-8 (byte 15 of the line": b'{"question": "\xe9", "reference": 1, "samples": ["a"]}',
    "no text: surrogates": b'{"question": "?", "reference": 1, "samples": ["\\ud800"]}',
    "split must be": b'{"question": "?", "reference": 1, "samples": ["a"], "split": "dev"}',
    "policy must be a text": b'{"question": "?", "reference": 1, "samples": ["a"], "policy": 3}',
    "recursion": b"[" * 100_000,
}
"""Malformed lines by what is said of them."""
