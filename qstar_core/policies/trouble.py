"""What goes wrong with a completions server: short reasons, pauses, and errors for the user."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping, Sequence

import openai

from qstar_core.errors import EngineUnavailable, RequestFailed, UserError
from qstar_core.policies.completions import BadAnswer

BACKOFF_S = 0.5  # limit of the first pause; doubles with each
BACKOFF_LIMIT_S = 30.0
PROMPT_SHOWN = 60  # characters
MESSAGE_SHOWN = 400  # characters of what a server says
SAFE = "finished shards are on disk and will be kept"
AGAIN = "run the same command again: it goes on where it stopped"


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures: random, up to a limit that doubles each time."""
    return random.uniform(0.0, min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** (failures - 1)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, told as a number or as a date; None if it does not."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        date = email.utils.parsedate_tz(value)
        if date is None:
            return None
        seconds = email.utils.mktime_tz(date) - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def reason(error: BaseException) -> str:
    """What went wrong, short, for counts and logs; never the key."""
    if isinstance(error, BadAnswer):
        return str(error)
    if isinstance(error, openai.APIStatusError):
        return f"HTTP {error.status_code}"
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return "time-out"
    if isinstance(error, openai.APIConnectionError):
        return f"no connection ({type(error.__cause__ or error).__name__})"
    return type(error).__name__


def shown(prompt: str) -> str:
    """A prompt for an error: its length and its beginning."""
    begin = prompt if len(prompt) <= PROMPT_SHOWN else prompt[:PROMPT_SHOWN] + "..."
    return f"a prompt of {len(prompt)} characters, {begin!r}"


def refused(
    url: str, context: int | None, error: openai.APIStatusError, key: str, prompt: str
) -> UserError:
    """A server, which holds so many tokens if it says so, does not take a request."""
    said = error.message.replace(key, "***") if key else error.message
    holds = f", with a context of {context}," if context is not None else ""
    return UserError(
        f"{url}{holds} refuses {shown(prompt)}: {said[:MESSAGE_SHOWN]}",
        next_step="mend what the server says; if the prompt is too long, lower "
        "rollouts.max_new_tokens or serve with a larger --max-model-len",
    )


def key_refused(url: str, status: int, name: str, given: bool) -> EngineUnavailable:
    """A server wants another key than that of the environment variable ``name``, or any."""
    what = f"the key in {name}" if given else f"a request without a key ({name} is not set)"
    return EngineUnavailable(
        f"{url} refuses {what}: HTTP {status}",
        safe=SAFE,
        next_step=f"export {name}=... with the key of the server, then {AGAIN}",
    )


def no_endpoint(url: str) -> EngineUnavailable:
    """A server serves the model and has no completions."""
    return EngineUnavailable(
        f"{url}/completions is not there (HTTP 404)",
        safe=SAFE,
        next_step="name a server with the completions endpoint in policy.server.urls, "
        "with its version (http://host:8000/v1)",
    )


def not_served(url: str, model: str, names: Sequence[str]) -> EngineUnavailable:
    """A server serves other models."""
    return EngineUnavailable(
        f"policy.server.model: {url} does not serve {model}; "
        f"it serves {', '.join(names) or 'nothing'}",
        safe=SAFE,
        next_step="serve one model on all of policy.server.urls, or name the one they serve: "
        f"--set policy.server.model={names[0] if names else 'NAME'}",
    )


def several(url: str, names: Sequence[str]) -> EngineUnavailable:
    """Which of its models is meant?"""
    return EngineUnavailable(
        f"policy.server.model: {url} serves {len(names)} models: {', '.join(names) or '(none)'}",
        next_step=f"say which one: --set policy.server.model={names[0] if names else 'NAME'}",
    )


def none_left(states: Mapping[str, str]) -> EngineUnavailable:
    """No server answers; ``states`` says why, by address."""
    listed = "; ".join(f"{url}: {why}" for url, why in states.items())
    return EngineUnavailable(
        f"policy.server.urls: no server answers ({listed})",
        safe=SAFE,
        next_step=f"start the servers (curl {next(iter(states))}/models asks one), then {AGAIN}",
    )


def given_up(url: str, why: str, times: int, prompt: str, others_answered: bool) -> UserError:
    """A request failed too often; it is to blame where others were answered meanwhile."""
    often = f"failed {times} times, the last time at {url}: {why}"
    if others_answered and why != "HTTP 429":
        return RequestFailed(
            f"{shown(prompt)}, {often}", next_step="look into the log of the server"
        )
    return EngineUnavailable(
        f"requests {often}",
        safe=SAFE,
        next_step="look into the log of the server, lower policy.server.concurrency or raise "
        f"policy.server.retries, then {AGAIN}",
    )
