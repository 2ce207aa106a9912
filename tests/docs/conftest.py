"""One Prefect server for the commands of all pages."""

from tests.flows.conftest import prefect_server

__all__ = ["prefect_server"]
