"""Local paths and ``s3://bucket/prefix``: telling them apart, joining and splitting them."""

from __future__ import annotations

import re
from pathlib import Path

from qstar_core.errors import UserError

S3 = "s3://"
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://?")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", re.ASCII)


def is_remote(uri: str) -> bool:
    """Whether a URI names object storage; everything else is a local path.

    Raises:
        UserError: it begins with another scheme, or with a mistyped ``s3://``.
    """
    if uri.startswith(S3):
        return True
    found = SCHEME.match(uri)
    if found and not Path(uri).exists():
        raise UserError(
            f"{uri}: neither a local path nor of the form s3://bucket/prefix",
            next_step="name a local path or s3://bucket/prefix",
        )
    return False


def split(uri: str) -> tuple[str, str]:
    """Bucket and prefix of an ``s3://`` URI; the prefix has no slash at its ends.

    Raises:
        UserError: there is no valid bucket name in it.
    """
    bucket, _, prefix = uri.removeprefix(S3).partition("/")
    if not BUCKET.fullmatch(bucket):
        raise UserError(
            f"{uri}: {bucket!r} is not the name of a bucket",
            next_step="name it as s3://bucket/prefix",
        )
    return bucket, prefix.strip("/")


def join(uri: str, name: str) -> str:
    """A name below a folder, local or remote."""
    return f"{uri.rstrip('/') if uri.startswith(S3) else uri}/{name}"


def leaf(uri: str) -> str:
    """The last part of a URI: of a data set's, its key."""
    return uri.rstrip("/").rpartition("/")[2]


def removal(uri: str) -> str:
    """The command that removes a folder."""
    return f"aws s3 rm --recursive {uri}" if uri.startswith(S3) else f"rm -r {uri}"
