"""A fleet of completions servers: which one is asked, and what happens when one fails.

1. A request goes to the server with the fewest requests in flight.
2. 408, 409, 425, 429, 5xx, time-outs, lost connections and broken answers are tried again, after a
   pause that is random up to an exponentially growing limit ("full jitter"), wherever there is
   room. A server that asks for a pause (Retry-After) is given it.
3. A server that fails is asked for its health. If that fails too, it goes out of rotation and is
   probed until it answers again and still serves the model; the others go on meanwhile.
4. The run ends when no server has answered for ``outage_timeout_s``, or when one request has
   failed more than ``retries`` times. If others were answered meanwhile, the request is to blame.
5. A wrong key, a model that is not served and a request that is refused are errors at once.

The client's exceptions hold requests, and these the key: none of them leaves this module.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openai
from httpx2 import AsyncClient, HTTPError, Limits, Timeout
from openai.types import Completion

from qstar_core.config import ServerConfig
from qstar_core.errors import UserError
from qstar_core.policies import trouble
from qstar_core.policies.completions import BadAnswer, Choice, Dialect, read_choice
from qstar_core.policies.served import addresses

log = logging.getLogger(__name__)

RETRIED = (408, 409, 425, 429)  # and 5xx
HEALTH_TIMEOUT_S = 10.0
PROBE_S = 1.0  # before the first probe of a server out of rotation; doubles with each
PROBE_LIMIT_S = 30.0
POLL_S = 0.05
KEEP_ALIVE_S = 2.0  # of an idle connection; servers close them too, vLLM after 5 s
MALFORMED = (ValueError, TypeError, KeyError, AttributeError)  # of an answer that is not checked
NO_KEY = "none"  # said to the client, which would look for a key elsewhere in the environment

Models = dict[str, int | None]
"""The models that a server names, and the tokens that each can hold if it says so."""
Arguments = Callable[[Dialect], dict[str, Any]]


@dataclass(eq=False)
class Server:
    """One server of the fleet.

    Attributes:
        url: the base, which ends in the version (``http://host:8000/v1``).
        http: its connections, kept.
        client: speaks the protocol over them.
        dialect: what it speaks, known once it has named its models.
        engine: its kind and version, if it says so.
        in_flight: requests it works on.
        out: why it is out of rotation; empty while it is in.
        next_s: when it is probed, or may be asked again (``time.monotonic``).
        probes: since it went out.
        check: one health check at a time.
    """

    url: str
    http: AsyncClient
    client: openai.AsyncOpenAI
    dialect: Dialect = "openai"
    engine: str = ""
    in_flight: int = 0
    out: str = "not asked yet"
    next_s: float = 0.0
    probes: int = 0
    check: asyncio.Lock = field(default_factory=asyncio.Lock)


class Fleet:
    """Servers of one model; to be used from one event loop.

    Args:
        config: addresses and patience.
        model: the name under which they serve it; None is the only one that they serve.
    """

    def __init__(self, config: ServerConfig, model: str | None) -> None:
        self.config = config
        self.model = model or ""
        self.key = os.environ.get(config.api_key_env, "")
        self.servers = [self._server(url) for url in addresses(config)]
        self.context: int | None = None
        """Tokens of prompt and answer that every server can hold, where they say so."""
        self.failures: Counter[str] = Counter()
        """Failures that were tried again, by reason."""
        self._answered = 0
        self._opened = False
        self._opening = asyncio.Lock()
        self._outage_s: float | None = None
        self._probes: set[asyncio.Task[None]] = set()

    def _server(self, url: str) -> Server:
        wait, most = self.config.timeout_s, self.config.concurrency + 4
        timeout = Timeout(wait, connect=min(HEALTH_TIMEOUT_S, wait))
        limits = Limits(
            max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEP_ALIVE_S
        )
        http = AsyncClient(timeout=timeout, limits=limits)
        key = self.key or NO_KEY
        client = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=http)
        return Server(url, http, client)

    async def open(self) -> None:
        """Asks all servers, once, which model they serve.

        Raises:
            EngineUnavailable: none answers, the key is refused, or they serve different models.
        """
        self._outage_s = None
        async with self._opening:
            if not self._opened:
                await self._ask_all()

    async def _ask_all(self) -> None:
        found = await asyncio.gather(*(self._served(server) for server in self.servers))
        served: list[tuple[Server, Models]] = []
        for server, models in zip(self.servers, found, strict=True):
            if isinstance(models, str):
                self._take_out(server, models)
            else:
                served.append((server, models))
        if not served:
            raise self._none_left()
        if not self.model:
            first, models = served[0]
            if len(models) != 1:
                raise trouble.several(first.url, list(models))
            [self.model] = models
        for server, models in served:
            if self.model not in models:
                raise trouble.not_served(server.url, self.model, list(models))
            server.out = ""
        known = [most for _, models in served if (most := models[self.model]) is not None]
        self.context = min(known, default=None)
        self._opened = True

    async def complete(self, arguments: Arguments, prompt: str) -> Choice:
        """The completion of a request by whichever server gives it.

        Args:
            arguments: of ``completions.create``, in a server's dialect.
            prompt: named in errors.

        Raises:
            UserError: the request is refused, or alone to blame for failing again and again.
            EngineUnavailable: no server is left, or the servers fail all requests.
        """
        answered, failed = self._answered, 0
        while True:
            server = await self._pick()
            try:
                return await self._ask(server, arguments(server.dialect))
            except openai.APIStatusError as error:
                if error.status_code < 500 and error.status_code not in RETRIED:
                    raise await self._refusal(server, error, prompt) from None
                why, pause = trouble.reason(error), trouble.retry_after(error.response.headers)
            except (openai.APIError, TimeoutError, BadAnswer, *MALFORMED) as error:
                why, pause = trouble.reason(error), None
            failed += 1
            self.failures[why] += 1
            if failed > self.config.retries:
                alone = not any(each.in_flight for each in self.servers)  # none to compare with
                others = self._answered > (0 if alone else answered)
                raise trouble.given_up(server.url, why, failed, prompt, others)
            await self._after_failure(server, why, pause)
            await asyncio.sleep(trouble.backoff(failed))

    async def _ask(self, server: Server, arguments: dict[str, Any]) -> Choice:
        server.in_flight += 1
        try:
            async with asyncio.timeout(self.config.timeout_s):
                answer = await server.client.completions.create(**arguments)
        finally:
            server.in_flight -= 1
        if not isinstance(answer, Completion):
            raise BadAnswer("an answer that is no completion")
        choice = read_choice(answer, server.dialect)
        self._answered += 1
        return choice

    async def _pick(self) -> Server:
        """A server in rotation; waits while there is none."""
        while True:
            now = time.monotonic()
            for server in self.servers:
                if server.out and server.next_s <= now:
                    self._probe_soon(server)
            ready = [s for s in self.servers if not s.out and s.next_s <= now]
            if ready:
                self._outage_s = None
                return min(ready, key=lambda server: server.in_flight)
            if all(server.out for server in self.servers):
                self._outage_s = self._outage_s or now
                if now - self._outage_s > self.config.outage_timeout_s:
                    raise self._none_left()
            await asyncio.sleep(POLL_S)

    async def _after_failure(self, server: Server, why: str, pause: float | None) -> None:
        """Gives a server the pause it asked for, or takes it out of rotation if it is ill."""
        if pause is not None:
            pause = min(pause, self.config.outage_timeout_s)
            server.next_s = max(server.next_s, time.monotonic() + pause)
        if pause is not None or why == "HTTP 429":
            return
        async with server.check:
            if server.out:
                return
            found = await self._served(server)
            if isinstance(found, str):
                self._take_out(server, found if found == why else f"{why}, then {found}")

    def _take_out(self, server: Server, why: str) -> None:
        server.out, server.probes = why, 0
        server.next_s = time.monotonic() + PROBE_S
        log.warning("%s is out of rotation: %s", server.url, why)

    def _probe_soon(self, server: Server) -> None:
        """Starts a probe beside the requests."""
        server.probes += 1
        pause = min(PROBE_LIMIT_S, PROBE_S * 2.0**server.probes)
        server.next_s = time.monotonic() + HEALTH_TIMEOUT_S + pause
        task = asyncio.create_task(self._probe(server, pause))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    async def _probe(self, server: Server, pause: float) -> None:
        try:
            found = await self._served(server)
        except UserError as error:  # its key was changed
            found = error.what
        if not isinstance(found, str) and self.model in found:
            server.out, server.next_s = "", 0.0
            log.warning("%s is in rotation again", server.url)
            return
        server.out = found if isinstance(found, str) else f"serves {', '.join(found)} now"
        server.next_s = time.monotonic() + pause

    async def _served(self, server: Server) -> Models | str:
        """The models of a server in good health, or what is wrong with it.

        Raises:
            EngineUnavailable: it refuses the key.
        """
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                models = (await server.client.models.list()).data or []
                if any(model.owned_by == "vllm" for model in models):
                    server.dialect, root = "vllm", server.url.removesuffix("/v1")
                    health = await server.http.get(root + "/health")
                    if health.status_code >= 500:  # the engine died, its front end did not
                        return f"HTTP {health.status_code} from /health"
                    version = await server.http.get(root + "/version")
                    if version.status_code == 200:
                        server.engine = f"vllm {version.json()['version']}"
                return {model.id: getattr(model, "max_model_len", None) for model in models}
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            status, name = error.status_code, self.config.api_key_env
            raise trouble.key_refused(server.url, status, name, bool(self.key)) from None
        except (openai.APIError, HTTPError, TimeoutError, *MALFORMED) as error:
            return trouble.reason(error)

    async def _refusal(
        self, server: Server, error: openai.APIStatusError, prompt: str
    ) -> UserError:
        """The error behind a status that no retry mends."""
        status = error.status_code
        if status in (401, 403):
            name = self.config.api_key_env
            return trouble.key_refused(server.url, status, name, bool(self.key))
        if status == 404:
            found = await self._served(server)
            if not isinstance(found, str) and self.model not in found:
                return trouble.not_served(server.url, self.model, list(found))
            return trouble.no_endpoint(server.url)
        return trouble.refused(server.url, self.context, error, self.key, prompt)

    def _none_left(self) -> UserError:
        return trouble.none_left({server.url: server.out for server in self.servers})

    async def close(self) -> None:
        """Ends the probes and closes the connections."""
        for task in self._probes:
            task.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        for server in self.servers:
            await server.http.aclose()
