"""For users: published data sets in polars and pyarrow, straight from where they lie.

Nothing is copied and no sha256 is compared here; the pipeline itself reads verified copies.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import polars as pl
from pyarrow import fs

from qstar_core.errors import UserError
from qstar_core.store import dataset, open_store
from qstar_core.store.uri import is_remote, split

AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")


def scan(uri: str) -> pl.LazyFrame:
    """The rows of a published data set as a lazy frame, in the order of the manifest.

    Raises:
        UserError: it is not published, or has no rows (a model, a report).
    """
    manifest = dataset.read_manifest(uri)
    names = [e["name"] for e in (manifest or {"files": []})["files"]]
    store = open_store(uri)
    files = [store.path(name) for name in names if name.endswith(".parquet")]
    if not files:
        what = "no complete data set" if manifest is None else "no Parquet file"
        raise UserError(f"{what} at {uri}", next_step=f"qstar show {uri}")
    if not is_remote(uri):
        return pl.scan_parquet(files)
    return pl.scan_parquet(files, storage_options=_polars_options(), credential_provider=None)


def filesystem(uri: str) -> tuple[Any, str]:
    """A pyarrow file system and the path of a folder on it."""
    if not is_remote(uri):
        return fs.LocalFileSystem(), uri
    found = _settings()
    scheme, _, host = (found["endpoint"] or "").partition("://")
    where = {"endpoint_override": host, "scheme": scheme} if host else {}
    key = {"access_key": found["access_key"], "secret_key": found["secret_key"]}
    made = fs.S3FileSystem(
        **key, session_token=found["token"] or None, region=found["region"], **where
    )
    return made, "/".join(filter(None, split(uri)))


def _polars_options() -> dict[str, str]:
    found = _settings()
    options = {
        "aws_access_key_id": found["access_key"],
        "aws_secret_access_key": found["secret_key"],
        "aws_session_token": found["token"],
        "aws_region": found["region"],
        "aws_endpoint_url": found["endpoint"],
        "aws_allow_http": "true" if found["endpoint"].startswith("http://") else "",
    }
    return {name: value for name, value in options.items() if value}


def _settings() -> dict[str, str]:
    """What boto3 finds at this moment; the endpoint is empty for Amazon's own."""
    from qstar_core.store.s3_client import client, credentials

    frozen = credentials()
    if frozen is None:
        raise UserError(
            "no AWS credentials",
            next_step="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    endpoint = str(client().meta.endpoint_url)
    host = urlsplit(endpoint).hostname or ""
    return {
        "access_key": frozen.access_key,
        "secret_key": frozen.secret_key,
        "token": frozen.token or "",
        "region": client().meta.region_name or "us-east-1",
        "endpoint": "" if host.endswith(AWS_HOSTS) else endpoint,
    }
