"""The product as it is run: a web process and a worker process, and a real browser in front of them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from playwright.sync_api import Browser, sync_playwright

from nexpura.tenants.models import TenantUser
from tests.conftest import PASSWORD
from tests.journeys.visitor import Visitor

NEXPURA = str(Path(sys.executable).with_name("nexpura"))
PATIENCE = 60.0
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIETLY = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@cache
def hashed_for_the_product() -> str:
    """The tests' quick hash is none that the product would accept."""
    return make_password(PASSWORD, hasher=PBKDF2PasswordHasher())


class Installation:
    """`nexpura web` and `nexpura worker`, each in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start the parts named, and wait until the pages answer and, if there is a worker, it is seen."""
        for name in names:
            port = ["--port", str(self.port)] if name == "web" else []
            environment = {**os.environ, "NEXPURA_HEARTBEAT": "0.5", "NEXPURA_STALL": "3"}
            with (self.folder / f"{name}.log").open("ab") as log:
                self.parts[name] = subprocess.Popen(
                    [NEXPURA, name, *port], env=environment, stdout=log, stderr=log, start_new_session=True
                )
        self._wait_for("/readyz" if "worker" in self.parts else "/healthz")

    def kill(self, name: str) -> None:
        """End a part at once, with all its processes, as a power cut would."""
        part = self.parts.pop(name)
        os.killpg(part.pid, signal.SIGKILL)
        part.wait(PATIENCE)

    def stop(self) -> None:
        for part in self.parts.values():
            part.terminate()
        for part in self.parts.values():
            part.wait(PATIENCE)
            with suppress(ProcessLookupError):
                os.killpg(part.pid, signal.SIGKILL)

    def _wait_for(self, path: str) -> None:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            assert all(part.poll() is None for part in self.parts.values()), self._said()
            with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(self.url + path, timeout=5):
                return
            time.sleep(0.05)
        raise AssertionError(f"{path} does not answer; {self._said()}")

    def _said(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text()}" for log in sorted(self.folder.glob("*.log")))


@pytest.fixture
def installation(committed, mailchimp, tmp_path) -> Iterator[Installation]:
    """Nothing runs yet; whatever is started is stopped before the database is wiped."""
    installation = Installation(tmp_path)
    try:
        yield installation
    finally:
        installation.stop()


@pytest.fixture
def browser(installation, monkeypatch) -> Iterator[Browser]:
    """A real Chromium. Without one the test is skipped, or fails where NEXPURA_REQUIRE_BROWSER=1 asks for it."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        missing = f"no Chromium on the PATH (looked for {', '.join(CHROMIUM)}): the pages were NOT seen in a browser"
        if os.environ.get("NEXPURA_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    # Playwright keeps an event loop in this thread; the test's own look into the database does not wait in it.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIETLY))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, installation) -> Callable[..., Visitor]:
    """Sit somebody down at a browser window of their own."""

    def visit(user: TenantUser | None = None, path: str = "/integrations", *, scripts: bool = True) -> Visitor:
        visitor = Visitor(browser, installation.url, scripts=scripts)
        if user:
            user.password = hashed_for_the_product()
            user.save(update_fields=["password"])
            visitor.signs_in(user.email, path)
        return visitor

    return visit
