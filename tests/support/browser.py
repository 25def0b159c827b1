"""A headless Chromium, controlled by its DevTools protocol: https://chromedevtools.github.io/."""

import itertools
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

# The browser sends no requests of its own, and can be started by root.
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
]


class Page:
    """The only tab of a browser."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        """What the console shows as an error."""
        self._call("Log.enable")

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._call("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith({json.dumps(url)})")

    def wait_for(self, condition: str) -> None:
        """Wait until the page is loaded and the JavaScript condition is true."""
        for _attempt in range(100):
            try:
                if self.run(f"document.readyState === 'complete' && ({condition})"):
                    return
            except RuntimeError:
                pass  # there is no page yet
            time.sleep(0.1)
        raise AssertionError(f"{condition} is still false at {self.run('location.href')}")

    def run(self, script: str) -> Any:
        """Run JavaScript in the page and return its value. A promise is awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._devtools.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._devtools.recv(timeout=30))
            if answer.get("method") == "Log.entryAdded":
                entry = answer["params"]["entry"]
                if entry["level"] == "error":
                    self.errors.append(f"{entry['text']} {entry.get('url', '')}")
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]


@contextmanager
def browser(program: str, folder: Path, *options: str) -> Iterator[Page]:
    """Run a browser with an empty profile in the folder during the block."""
    profile = folder / "chromium"
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={profile}", *options, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        with urllib.request.urlopen(f"{devtools_url(profile)}/json/list", timeout=10) as answer:
            (tab,) = [tab for tab in json.load(answer) if tab["type"] == "page"]
        with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as devtools:
            yield Page(devtools)
    finally:
        process.terminate()
        process.wait(20)


def devtools_url(profile: Path) -> str:
    """Return the address of the DevTools, which the browser writes into its profile."""
    file = profile / "DevToolsActivePort"
    for _attempt in range(300):
        if file.exists() and (lines := file.read_text().splitlines()):
            return f"http://127.0.0.1:{lines[0]}"
        time.sleep(0.1)
    raise AssertionError("The browser did not start")
