"""Pages in headless Chromium: opened from disk, their errors and requests noted."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def open_browser():
    """Yield a headless Chromium; skip where it, or what drives it, is not installed."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class OpenPage:
    """A page from disk."""

    def __init__(self, browser, path, **options):
        """Open it. options: of the browser's context, such as color_scheme or viewport."""
        self.complaints, self.requests = [], []
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url.partition(":")[0]))
        self.page.goto(path.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.context.close()
        if kind is None:
            assert self.complaints == []
            # The page itself, its pictures, and what it offers for download.
            assert set(self.requests) <= {"file", "data", "blob"}
            assert self.requests.count("file") == 1

    def texts(self, selector):
        """Return what stands in the elements that are seen."""
        return [element.inner_text() for element in self.page.locator(selector).all() if element.is_visible()]

    def clips(self):
        """Return the numbers of the clips that are shown, in order."""
        return [int(text.split()[1]) for text in self.texts("#clips b")]
