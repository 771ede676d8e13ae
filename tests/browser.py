"""A real browser for tests: Chromium, driven through a pipe by its own protocol (CDP)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)  # fmt: skip
PLUG = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from descriptor 3 and answers on 4, whatever the pipe's numbers are here."""


class Browser:
    """One page in a new profile; use it in a ``with`` block, which ends the browser.

    Parameters
    ----------
    folder
        Where the profile goes.
    width, height
        Of the window, in CSS pixels.
    dark, still
        Whether the device prefers dark colours, and reduced motion.
    touch
        Whether it is a phone.
    """

    def __init__(self, folder: Path, width=1280, height=900, *, dark=False, still=True, touch=False) -> None:
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        line = [sys.executable, "-c", PLUG, str(commands), str(answers), CHROMIUM, *FLAGS]
        line += [f"--user-data-dir={folder / 'profile'}", f"--disk-cache-dir={folder / 'cache'}", "about:blank"]
        home = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        home["TMPDIR"] = "."  # a socket lies there, whose path may have 107 bytes, fewer than pytest's folders can have
        home |= {"XDG_CACHE_HOME": str(folder)}
        with (folder / "browser.log").open("wb") as log:
            ends = (commands, answers)
            self._process = subprocess.Popen(line, pass_fds=ends, stdout=log, stderr=log, env=home, cwd=folder)
        os.close(commands)
        os.close(answers)
        self._number, self._rest, self.session, self.errors = 0, b"", None, []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(each for each in targets if each["type"] == "page")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self.send("Page.enable")
        self.send("Runtime.enable")
        self.resize(width, height, touch=touch)
        features = {"prefers-color-scheme": "dark" if dark else "light"}
        features["prefers-reduced-motion"] = "reduce" if still else "no-preference"
        self.send("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **parameters: object) -> dict:
        """Send a command and return its answer; errors of the page are kept on the way."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                part = os.read(self._in, 1 << 20)
                assert part, "the browser has ended"
                self._rest += part
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"])
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def resize(self, width: int, height: int, *, touch=False) -> None:
        """Set the size of the window."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)

    def open(self, path: Path, ready: str) -> None:
        """Open a file and wait until an expression is true."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait(ready)

    def evaluate(self, expression: str) -> object:
        """Return the value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 300.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < end, f"never true: {expression}; {self.errors}"
            time.sleep(0.1)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click an element, at a share of its width and height, as a mouse does."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{place}.scrollIntoView({{block: 'center'}})")
        box = self.evaluate(
            f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({place}.getBoundingClientRect())"
        )
        at = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def drag(self, selector: str, places: list[tuple[float, float]]) -> None:
        """Draw on an element through places, as shares of its width and height."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{place}.scrollIntoView({{block: 'center'}})")
        box = self.evaluate(
            f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({place}.getBoundingClientRect())"
        )
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in places]
        self.send("Input.dispatchMouseEvent", type="mousePressed", button="left", clickCount=1, **points[0])
        for point in points[1:]:
            self.send("Input.dispatchMouseEvent", type="mouseMoved", button="left", buttons=1, **point)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", button="left", clickCount=1, **points[-1])

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            code = {" ": "Space"}.get(key, key)
            number = {
                " ": 32,
                "ArrowLeft": 37,
                "ArrowUp": 38,
                "ArrowRight": 39,
                "ArrowDown": 40,
                "Tab": 9,
                "Enter": 13,
            }[key]
            facts = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            text = {" ": " ", "Enter": "\r"}.get(key)
            self.send("Input.dispatchKeyEvent", type="keyDown", **facts, **({"text": text} if text else {}))
            self.send("Input.dispatchKeyEvent", type="keyUp", **facts)

    def shot(self, path: Path, top: float = 0.0, height: float | None = None) -> None:
        """Write a picture of the page (or of so much of it) as PNG."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": size["width"], "height": height or size["height"] - top, "scale": 1}
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))
