"""Outside, `test_loopback` starts processes that have the loopback; inside these, the other tests are collected."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path, config):
    inside = config.pluginmanager.hasplugin("tests.cuda.loopback.plugin")
    if collection_path.parent == HERE and (collection_path.name == "test_loopback.py") == inside:
        return True
    return None
