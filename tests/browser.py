"""A real Chromium without a window, driven by Selenium: what a person sees of the pages.

Its programs come with Debian's packages chromium and chromium-driver. Without them the tests that need them
are skipped and say so; where CI=true nothing may be skipped, and they fail.

Example: python -m tests.browser . docs        (after make run: docs/report.png)
         python -m tests.browser demo docs     (after make demo: docs/page.png and docs/client.png)
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import WebDriverWait

from attrition import files
from tests.servers import serving

WIDE, PHONE, OPENING = (1200, 900), (390, 844), (1000, 1000)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # a small /dev/shm, as containers have it, is not enough for a page
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"),
)
COLOURS = 128

SECONDS = 30


class Browser:
    """One window; how wide it is, light or dark, with or without script is set for what comes next."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, place: str) -> None:
        self.driver.get(urljoin(self.url, place))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def follow(self, selector: str) -> None:
        """Click on what leads to another page."""
        with self.leaving():
            self.one(selector).click()

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """What is done within leads to another page, which is waited for."""
        before = self.one("html")
        yield
        WebDriverWait(self.driver, SECONDS).until(staleness_of(before))

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def size(self, width: int, height: int) -> None:
        view = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def scripts(self, run: bool) -> None:
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not run})

    def picture(self) -> bytes:
        return self.driver.get_screenshot_as_png()

    def complaints(self) -> list[str]:
        """What the browser has complained of since it was asked last: errors, things that were blocked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextlib.contextmanager
def browsing(url: str) -> Iterator[Browser]:
    """A started browser, or the test is skipped (with CI=true: fails)."""
    chromium, driver = (_program(name) for name in ("chromium", "chromedriver"))
    profile = Path(tempfile.mkdtemp(prefix="attrition-browser-"))
    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, Service(driver))
    try:
        browser = Browser(started, url)
        browser.size(*WIDE)
        browser.scheme("light")
        yield browser
    finally:
        started.quit()
        shutil.rmtree(profile, ignore_errors=True)


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    reason = f"{name} is not installed (Debian, Ubuntu: apt-get install chromium chromium-driver)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def pictures(home: Path, folder: Path) -> list[Path]:
    """Pictures of today's list and of its first client, of the practice area below `home`."""
    with serving(home, ATTRITION_PRACTICE="1") as server, browsing(server.url) as browser:
        browser.open("/")
        taken = {"page.png": browser.picture()}
        browser.follow(".risks .client a")
        browser.size(WIDE[0], 1000)
        taken["client.png"] = browser.picture()
    return _written(folder, taken)


def report_picture(home: Path, folder: Path) -> list[Path]:
    """A picture of the report of the pipeline below `home`, as it opens."""
    with serving(home) as server, browsing(server.url) as browser:
        browser.size(*OPENING)
        browser.open("/report")
        taken = {"report.png": browser.picture()}
    (home / "server.log").unlink()
    return _written(folder, taken)


def _written(folder: Path, taken: Mapping[str, bytes]) -> list[Path]:
    for name, picture in taken.items():
        files.write_bytes(folder / name, _small(picture))
    return [folder / name for name in taken]


def _small(picture: bytes) -> bytes:
    """The same picture with fewer colours, at a third of its size."""
    from PIL import Image

    stream = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write(
            "Name a pipeline's folder and that of the pictures: python -m tests.browser . docs (after make "
            "run), or python -m tests.browser demo docs (after make demo)\n"
        )
        return 2
    home, folder = (Path(argument).absolute() for argument in arguments)
    take = report_picture if (home / "models" / "report.html").exists() else pictures
    sys.stdout.write("".join(f"{place}\n" for place in take(home, folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
