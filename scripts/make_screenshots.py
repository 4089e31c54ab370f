"""Take the screenshots of README.md: the pages of the demo, in headless Chromium.

Usage: python scripts/make_screenshots.py

Needs Chromium, and the embedded PostgreSQL of the demo.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"
PROGRAMS = ("chromium", "google-chrome")
VIEW = {"width": 1100, "height": 1050}
"""What is shown: the top of each page."""

MOST_BYTES = 150_000


def main() -> int:
    """Take the pictures; return the exit code."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        print("no Chromium: `make screenshots` installs it as root with apt-get", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="batchcore-pages-") as name, sync_playwright() as p:
        command = [sys.executable, "-m", "batchcore", "demo", "--pages", name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        browser = p.chromium.launch(executable_path=program)
        for page in ("night", "portfolio"):
            context = browser.new_context(viewport=VIEW, color_scheme="light")
            shown = context.new_page()
            shown.goto((Path(name) / f"{page}.html").as_uri())
            picture = _small(shown.screenshot())
            file = IMAGES / f"{page}.png"
            file.write_bytes(picture)
            print(f"{file.relative_to(IMAGES.parent.parent)}: {len(picture):,} bytes")
            if len(picture) > MOST_BYTES:
                print(f"more than {MOST_BYTES:,} bytes", file=sys.stderr)
                return 1
        browser.close()
    return 0


def _small(picture: bytes) -> bytes:
    written = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(written, format="PNG", optimize=True)
    return written.getvalue()


if __name__ == "__main__":
    sys.exit(main())
