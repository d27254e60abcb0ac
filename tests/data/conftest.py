"""A server for the tests of downloads."""

from __future__ import annotations

import pytest

from tests.data.server import running


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running() as server:
        yield server
