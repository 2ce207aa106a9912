"""The S3 client of this process: settings by the standard AWS rules, retries, clear errors.

Endpoint, region and credentials come from where every AWS tool takes them: the environment
(``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_PROFILE``, ...), the shared configuration and
credentials files, or the machine's role. qstar has no setting of its own for them.

A request is repeated by botocore (mode ``standard``: connection errors, timeouts, 5xx, throttling,
with exponential backoff and jitter) and, when that has given up, by `patiently`, which also
repeats what breaks in the middle of a response's body. What then still fails is an `OSError`, so
a shard is tried again; what no retry can mend is a `UserError`.
"""

from __future__ import annotations

import errno
import math
import os
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    InvalidConfigError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as ConnectError
from urllib3.exceptions import HTTPError

from qstar_core.errors import UserError
from qstar_core.store import retries

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # without a byte; a large multipart upload takes a while to be completed
ATTEMPTS = 5  # of botocore, for one request
ROUNDS = 5  # further ones of `patiently`, 1, 2, 4, ... s apart at most
LONGEST_PAUSE_S = 20.0
CONNECTIONS = 16

SAFE = "finished shards and published data sets are kept"
AGAIN = "then run the same command again"
REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity", "NotSignedUp")
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
DENIED = ("AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403")
ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
MISSING = ("NoSuchKey", "NotFound", "404")
PASSING = (  # answers below 500 that a repetition may mend
    "RequestTimeout",
    "SlowDown",
    "TooManyRequests",
    "BadDigest",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "NoSuchUpload",
    "InvalidPart",
    "OperationAborted",
    "ConditionalRequestConflict",
)
NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    SSOError,
)
BAD_SETTINGS = (ProfileNotFound, ConfigNotFound, ConfigParseError, InvalidConfigError)
UNREACHABLE = (ConnectError, HTTPClientError, HTTPError)
BROKEN_BODY = (ReadTimeoutError, ResponseStreamingError, IncompleteReadError, HTTPError)

_lock = threading.Lock()
_clients: dict[tuple[Any, ...], Any] = {}


def client() -> Any:
    """The client of this process and of the environment's AWS settings; safe in threads.

    Raises:
        UserError: a profile or a configuration file is missing or malformed.
    """
    settings = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    key = (os.getpid(), *settings)
    with _lock:
        if key not in _clients:
            _clients.clear()
            _clients[key] = _make()
        return _clients[key]


def credentials() -> Any:
    """Access key, secret key and token that a client would use now; None where there are none."""
    client()  # says what is wrong with the settings
    found = boto3.session.Session().get_credentials()
    return None if found is None else found.get_frozen_credentials()


def _make() -> Any:
    retries.use()
    core = botocore.session.get_session()
    try:
        given = core.get_scoped_config()
        repeat: dict[str, Any] = {}
        if "AWS_RETRY_MODE" not in os.environ and "retry_mode" not in given:
            repeat["mode"] = "standard"
        if "AWS_MAX_ATTEMPTS" not in os.environ and "max_attempts" not in given:
            repeat["total_max_attempts"] = ATTEMPTS
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=CONNECTIONS,
            retries=repeat,
        )
        found = boto3.session.Session(botocore_session=core).client("s3", config=config)
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise _settings_error(error) from error
    found.meta.events.register("request-created.s3", _count)
    return found


def _settings_error(error: Exception) -> UserError:
    return UserError(
        # an endpoint may hold a password
        f"the AWS settings cannot be used: {re.sub(r'//[^/@ ]*@', '//***@', str(error))}",
        next_step="check AWS_PROFILE, AWS_ENDPOINT_URL, AWS_REGION and ~/.aws/config",
    )


def _count(request: Any, **_: Any) -> None:
    if request.context.get("retries", {}).get("attempt", 1) > 1:
        retries.add(1)


def endpoint() -> str:
    """The endpoint's URL without user and password."""
    return re.sub(r"//[^/@]*@", "//", str(client().meta.endpoint_url))


def patiently(
    uri: str, work: Callable[[], T], rounds: int = ROUNDS, patience_s: float = math.inf
) -> T:
    """Does something with S3 and repeats it while it fails in a way that may pass.

    Args:
        uri: what is read or written, for the error.
        work: can be repeated as a whole.
        rounds: repetitions at most.
        patience_s: no repetition is begun after so many seconds; a host that swallows packets takes
            most of a minute to fail once.

    Raises:
        UserError: settings, credentials, permission or bucket are to be mended.
        FileNotFoundError: there is no such object.
        OSError: S3 did not answer as it should, often enough; the errno is EIO.
    """
    done, start = 0, time.monotonic()
    while True:
        try:
            return work()
        except (BotoCoreError, ClientError, HTTPError) as error:
            told = explained(error, uri)
            spent = done >= rounds or time.monotonic() - start > patience_s
            if spent or isinstance(told, UserError | FileNotFoundError):
                raise told from error
        retries.add(1)
        time.sleep(random.uniform(0.5, 1.0) * min(LONGEST_PAUSE_S, 2.0**done))
        done += 1


def explained(error: Exception, uri: str) -> UserError | OSError:
    """What an error of boto3 means for the user; an `OSError` where a repetition may help."""
    if isinstance(error, ClientError):
        return _answered(error, uri)
    if isinstance(error, NO_CREDENTIALS):
        return UserError(
            f"{uri}: no usable AWS credentials: {error}",
            safe=SAFE,
            next_step="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, " + AGAIN,
        )
    if isinstance(error, BAD_SETTINGS):
        return _settings_error(error)
    if isinstance(error, ParamValidationError):
        return UserError(f"{uri}: {error}", next_step="name it as s3://bucket/prefix")
    if isinstance(error, BROKEN_BODY):
        return OSError(errno.EIO, f"S3 broke off its answer ({_short(error)})", uri)
    if isinstance(error, UNREACHABLE):
        return OSError(errno.EIO, f"cannot reach S3 at {endpoint()} ({_short(error)})", uri)
    return OSError(errno.EIO, _short(error), uri)


def _answered(error: ClientError, uri: str) -> UserError | OSError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    text = str(error.response.get("Error", {}).get("Message", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    bucket = uri.removeprefix("s3://").partition("/")[0]
    where = f"S3 at {endpoint()}"
    said = f"{code}: {text}" if text else f"{code} ({status})"
    if code == "NoSuchBucket":
        what = f"{uri}: there is no bucket {bucket} in {where}"
        step = f"make it (aws s3 mb s3://{bucket}) or name another one"
    elif code in MISSING:
        return FileNotFoundError(errno.ENOENT, "no such object", uri)
    elif code in EXPIRED:
        what = f"{uri}: the credentials have expired ({said})"
        step = f"get new ones (for example aws sso login), {AGAIN}"
    elif code in REFUSED:
        what = f"{uri}: {where} refuses the credentials ({said})"
        step = f"check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, {AGAIN}"
    elif code in DENIED:
        what = f"{uri}: {where} denies access ({said})"
        step = f"allow these credentials to list, get, put and delete objects there, {AGAIN}"
    elif code in ELSEWHERE or status == 301:
        what = f"{uri}: the bucket belongs to another region or endpoint ({said})"
        step = f"set AWS_REGION to the bucket's, {AGAIN}"
    elif code == "RequestTimeTooSkewed":
        what, step = f"{uri}: {said}", f"set this machine's clock, {AGAIN}"
    elif status >= 500 or status == 429 or code in PASSING:
        return OSError(errno.EIO, f"{where} fails ({said})", uri)
    else:
        what, step = f"{uri}: {where} refuses the request ({said})", f"mend the cause, {AGAIN}"
    return UserError(what, safe=SAFE, next_step=step)


def _short(error: Exception) -> str:
    text = re.sub(r"//[^/@\s]*@", "//", str(error)).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
