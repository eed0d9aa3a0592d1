"""A real browser, without a window: pictures, a printed page, and what a probe measures in the page."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = "chromium"
A4_TEXT_PX = 688  # 210 mm less the margins, at 96 pixels an inch
_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever it asks for, it gets nothing
)
_OWN = re.compile(r"https?://[a-z0-9.-]+\.(?:google\.com|googleapis\.com|gvt1\.com)/")  # the browser's, not the page's
_MEASURE = """
const waiting = [...document.querySelectorAll('iframe')].map(frame => new Promise(done => {
  frame.contentDocument?.readyState === 'complete' && frame.contentDocument.body?.children.length
    ? done() : frame.addEventListener('load', done);
}));
Promise.all(waiting).then(() => {
  const found = [...document.querySelectorAll('iframe')].map(frame => {
    const page = frame.contentDocument, wide = page.documentElement.clientWidth;
    const choices = {};
    for (const choice of ['choose-en', 'choose-both', 'choose-da']) {
      page.getElementById(choice).checked = true;
      choices[choice] = {
        shown: [...page.querySelectorAll('main')].filter(m => m.offsetParent).map(m => m.lang),
        scroll: page.documentElement.scrollWidth,
        outside: [...page.querySelectorAll('main *:not(.patterns, .patterns *)')]
          .filter(e => e.getBoundingClientRect().right > wide + 1 && e.closest('thead') === null)
          .map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 40)),
      };
    }
    return {wide, height: page.documentElement.scrollHeight, choices};
  });
  document.getElementById('measured').textContent = JSON.stringify(found);
});
"""


@dataclass(frozen=True, slots=True)
class Browser:
    """Opens files; `folder` is for its own profile and probes."""

    folder: Path

    def picture(self, page: Path, out: Path, width: int, height: int) -> None:
        """Write a screenshot of the page's first `height` pixels."""
        self._run(page, f"--window-size={width},{height}", f"--screenshot={out}")

    def print(self, page: Path, out: Path) -> None:
        """Print the page to PDF."""
        self._run(page, "--no-pdf-header-footer", f"--print-to-pdf={out}")

    def requested(self, page: Path) -> set[str]:
        """Return the addresses that the browser asked for to show the page, its own file aside."""
        log = self.folder / "requests.json"
        self._run(page, f"--log-net-log={log}", f"--screenshot={self.folder / 'requests.png'}")
        asked = set(re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]+)"', log.read_text(encoding="utf-8")))
        return {address for address in asked if not _OWN.match(address)}

    def measure(self, page: Path, *widths: int, printed: bool = False) -> list[dict[str, Any]]:
        """Return what the page measures at each width, in each language; `printed`, by its rules for paper."""
        text = page.read_text(encoding="utf-8")
        if printed:
            text = text.replace("@media print", "@media all").replace("@media screen", "@media not all and")
        frames = "".join(
            f'<iframe style="border:0" width="{width}" height="900" srcdoc="{html.escape(text)}"></iframe>'
            for width in widths
        )
        probe = self.folder / "probe.html"
        probe.write_text(
            f'<!doctype html><meta charset="utf-8"><pre id="measured"></pre>{frames}<script>{_MEASURE}</script>',
            encoding="utf-8",
        )
        dumped = self._run(probe, "--window-size=1600,1000", "--virtual-time-budget=10000", "--dump-dom")
        found = re.search(r'<pre id="measured">(.*?)</pre>', dumped, re.DOTALL)
        assert found is not None
        assert found[1], "the probe did not end"
        measured: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
        return measured

    def _run(self, page: Path, *arguments: str) -> str:
        done = subprocess.run(
            [CHROMIUM, *_QUIET, f"--user-data-dir={self.folder / 'profile'}", *arguments, page.as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout
