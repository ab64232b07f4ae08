"""The page in a real browser, where there is one: `MMVAE_BROWSER`, or Chromium on the path."""

from __future__ import annotations

import pytest

from tests.report.browser import BROWSER, WIDTHS, assert_it_opens_and_fits, opened
from tests.report.test_page import workdir  # noqa: F401

pytestmark = pytest.mark.skipif(
    not BROWSER, reason="no Chromium on the path, and MMVAE_BROWSER is not set"
)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_opens_and_fits(workdir, tmp_path, width):  # noqa: F811
    found = assert_it_opens_and_fits(workdir / "report.html", tmp_path / "copy", width)
    assert found["images"] >= 4
    assert found["ground"] == "rgb(251, 250, 248)"


def test_the_page_is_dark_in_dark_mode(workdir, tmp_path):  # noqa: F811
    found = opened(workdir / "report.html", tmp_path / "copy", 380, dark=True)
    assert found["ground"] == "rgb(22, 24, 28)" and found["said"] == []
