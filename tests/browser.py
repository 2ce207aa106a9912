"""Headless Chromium for tests, by selenium, and how to look at a page in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Browser = Any


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if missing:
        reason = (
            f"no {' and no '.join(missing)}; to run this: apt-get install chromium chromium-driver"
        )
        if os.environ.get("QSTAR_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_script_timeout(600)
    yield driver
    driver.quit()


def wait(browser: Browser, script: str, *arguments: str) -> None:
    """Waits until a script gives true, however slow the machine is."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 300).until(lambda b: b.execute_script(script, *arguments))


def find(browser: Browser, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def visible(browser: Browser, selector: str) -> list[Any]:
    """Elements that are shown; asked for in one go, which is much faster than one by one."""
    script = (
        "return Array.from(document.querySelectorAll(arguments[0]))"
        ".filter(e => e.checkVisibility() && e.getClientRects().length)"
    )
    return list(browser.execute_script(script, selector))


def texts(browser: Browser, selector: str) -> list[str]:
    """The rendered texts of shown elements."""
    script = "return arguments[0].map(e => e.innerText.trim())"
    return list(browser.execute_script(script, visible(browser, selector)))


def complaints(browser: Browser) -> list[dict[str, Any]]:
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
