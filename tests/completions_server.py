"""Real HTTP servers on loopback: one that speaks the completions protocol, and a fault proxy."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

WORDS = ("1", "2", "+", "=", "\n")


@dataclass(frozen=True)
class Fault:
    """What happens to a request instead of an answer.

    Attributes:
        kind: ``"status"``, ``"stall"`` (seconds, then the connection ends), ``"reset"``,
            ``"half"`` (an answer that breaks off) or ``"page"`` (HTML in the place of JSON).
        status: of the answer.
        seconds: of the stall, or said in Retry-After.
        said: the message of the error.
    """

    kind: str
    status: int = 500
    seconds: float | None = None
    said: str = "as asked"


Plan = Callable[[int], Fault | None]
"""The fault of the n-th completion asked for, from 0."""


@dataclass
class Script:
    """What a server does, and what it has seen.

    Attributes:
        plan: the faults.
        models: that it names; several make it ambiguous.
        key: that it wants.
        owned_by: ``"vllm"`` makes it a server of that kind.
        hidden: a proxy says no more of the models behind it than OpenAI documents.
        ill: its health is bad.
        context: tokens it holds, said beside its models.
        seen: the bodies it was asked.
        times: when (``time.monotonic``).
        pause: seconds before the answer to a body.
        spans: prompt, begin and end of each completion answered.
    """

    plan: Plan = lambda number: None
    models: Sequence[str] = ("tiny",)
    key: str = ""
    owned_by: str = "somebody"
    hidden: bool = False
    ill: bool = False
    context: int | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    pause: Callable[[dict[str, Any]], float] = lambda asked: 0.0
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    """Answers from a script; the base of the proxy."""

    protocol_version = "HTTP/1.1"
    script: Script

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def error(self, status: int, said: str, headers: dict[str, str] | None = None) -> None:
        self.answer(status, {"error": {"message": said, "code": status}}, headers)

    def do_GET(self) -> None:
        script = self.script
        if script.key and self.headers["Authorization"] != f"Bearer {script.key}":
            self.error(401, f"wrong key {self.headers['Authorization']}")
        elif self.path == "/health":
            self.answer(503 if script.ill else 200, b"")
        elif self.path == "/version":
            self.answer(200, {"version": "9.9"})
        elif script.ill and script.owned_by != "vllm":
            self.error(500, "ill")
        else:
            kind = {"object": "model", "created": 0, "owned_by": script.owned_by}
            kind["max_model_len"] = script.context
            data = [{"id": name, **kind} for name in script.models]
            self.answer(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.script.lock:
            number = len(self.script.seen)
            self.script.seen.append(asked)
            self.script.times.append(time.monotonic())
        fault = self.script.plan(number)
        if fault is None:
            self.complete(asked)
        else:
            self.fail(fault)

    def fail(self, fault: Fault) -> None:
        if fault.kind == "status":
            wait = {} if fault.seconds is None else {"Retry-After": f"{fault.seconds:g}"}
            self.error(fault.status, fault.said, wait)
        elif fault.kind == "page":
            self.answer(200, b"<html>a page</html>")
        elif fault.kind == "half":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"id": "1", "choi')
            self.close_connection = True
        else:
            if fault.kind == "stall":
                time.sleep(fault.seconds or 0.0)
            linger = struct.pack("ii", 1, 0)  # the connection ends with a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()

    def complete(self, asked: dict[str, Any]) -> None:
        if asked["model"] not in self.script.models:
            self.error(404, f"the model {asked['model']} does not exist")
        else:
            begin = time.monotonic()
            time.sleep(self.script.pause(asked))
            self.script.spans.append((asked["prompt"], begin, time.monotonic()))
            self.answer(200, completion(asked))

    def finish(self) -> None:
        if self.connection.fileno() >= 0:
            super().finish()


def completion(asked: dict[str, Any]) -> dict[str, Any]:
    """An answer that depends on prompt, seed and limit alone; as OpenAI documents it."""
    rng = random.Random(f"{asked['prompt']} {asked['seed']}")
    tokens = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
    ended = len(tokens) < asked["max_tokens"]
    tokens = tokens[: asked["max_tokens"]]
    logprobs = {"tokens": tokens, "token_logprobs": [-0.5] * len(tokens)}
    choice = {"index": 0, "text": "".join(tokens), "logprobs": logprobs}
    choice["finish_reason"] = "stop" if ended else "length"
    usage = {"prompt_tokens": len(asked["prompt"].split()), "completion_tokens": len(tokens)}
    head = {"id": "1", "object": "text_completion", "created": 0, "model": asked["model"]}
    return {**head, "choices": [choice], "usage": usage}


class Proxy(Handler):
    """Passes everything on to another server, except for what the script lets fail."""

    target: str

    def do_GET(self) -> None:
        self.pass_on("GET", None)

    def complete(self, asked: dict[str, Any]) -> None:
        self.pass_on("POST", json.dumps(asked).encode())

    def pass_on(self, method: str, content: bytes | None) -> None:
        to = urlsplit(self.target)
        connection = HTTPConnection(to.hostname or "", to.port, timeout=120)
        headers = {"Content-Type": "application/json"} if content else {}
        headers["Authorization"] = self.headers.get("Authorization", "")
        try:
            connection.request(method, self.path, content, headers)
            response = connection.getresponse()
            raw = response.read()
            if self.script.hidden and self.path.endswith("/models"):
                told = json.loads(raw)
                kept = {"object": "model", "created": 0, "owned_by": self.script.owned_by}
                models = [{"id": model["id"], **kept} for model in told.get("data", [])]
                raw = json.dumps({**told, "data": models}).encode()
            self.answer(response.status, raw)
        finally:
            connection.close()


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that go away."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing."""


@contextmanager
def serving(script: Script, target: str | None = None, port: int = 0) -> Iterator[str]:
    """Runs a server, or a proxy of ``target``; yields its base address."""
    if target is None:
        handler = type("Scripted", (Handler,), {"script": script})
    else:
        handler = type("Scripted", (Proxy,), {"script": script, "target": target})
    server = Quiet(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
