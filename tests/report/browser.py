"""Opens a page in a real browser: `MMVAE_BROWSER`, or Chromium on the path."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess

WIDTHS = (380, 1200)  # of a phone and of a desktop
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Runs in a copy of the page inside a frame of a phone's width; its parent writes down what it
# says, since a browser's window may not be that narrow.
CHECK = """
<script>
const said = [];
for (const kind of ["error", "securitypolicyviolation", "unhandledrejection"])
  addEventListener(kind, e => said.push(kind + " " + (e.message || e.violatedDirective)), true);
for (const kind of ["error", "warn"]) console[kind] = (...words) => said.push(words.join(" "));
addEventListener("load", () => {
  const images = [...document.images];
  for (const part of document.querySelectorAll("details")) part.open = true;
  const measured = {
    said,
    images: images.length,
    broken: images.filter(image => !image.naturalWidth).length,
    width: document.documentElement.clientWidth,
    scrollWidth: document.documentElement.scrollWidth,
    fetched: performance.getEntriesByType("resource").map(e => e.name)
      .filter(name => !name.startsWith("data:")),
    ground: getComputedStyle(document.body).backgroundColor,
  };
  parent.postMessage(JSON.stringify(measured), "*");
});
</script>
"""
OUTER = """<!DOCTYPE html><title>outer</title><pre id="found">nothing</pre>
<script>
addEventListener("message", e => { document.getElementById("found").textContent = e.data; });
</script>
<iframe src="inner.html" width="WIDTH" height="800" style="border:0"></iframe>
"""


# Empty where there is none.
BROWSER = os.environ.get("MMVAE_BROWSER") or next(filter(None, map(shutil.which, NAMES)), "")


def opened(page, folder, width, dark=False):
    """What the page says of itself in a frame of that width."""
    folder.mkdir()
    text = page.read_text(encoding="utf-8")
    policy = html.escape("default-src 'none'")
    assert policy in text
    text = text.replace(policy, html.escape("default-src 'none'; script-src 'unsafe-inline'"), 1)
    if dark:  # what a dark screen is told, on any
        text = text.replace("(prefers-color-scheme: dark)", "all", 1)
    (folder / "inner.html").write_text(text.replace("<title>", CHECK + "<title>", 1), "utf-8")
    (folder / "outer.html").write_text(OUTER.replace("WIDTH", str(width)), "utf-8")
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--virtual-time-budget=20000", "--window-size=1400,1000"),
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            (folder / "outer.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def assert_it_opens_and_fits(page, folder, width):
    """Nothing fails or is fetched, every image is there, folded or not, and no line is too wide.

    Returns:
      What the page says of itself.
    """
    found = opened(page, folder, width)
    assert found["said"] == [] and found["fetched"] == []
    assert found["images"] == page.read_text(encoding="utf-8").count("<img ")
    assert found["broken"] == 0
    assert found["scrollWidth"] <= found["width"] <= width
    return found
