"""The tab that makes videos from words, pictures and videos, with EasyAnimate on small networks."""

import re

import pytest

from tests.server.browser.conftest import TOKEN
from tests.server.browser.test_page import start

pytestmark = pytest.mark.long


@pytest.fixture
def page(visit, closed_address):
    page = visit(f"{closed_address}?token={TOKEN}")
    page.get_by_role("link", name="Video", exact=True).click()
    page.get_by_label("Weights", exact=True).select_option("small")
    return page


def played(page):
    """Play the result of a job: (width, height) of its video."""
    video = page.locator("video")
    video.wait_for()
    video = video.element_handle()
    video.evaluate("video => { video.muted = true; return video.play(); }")
    page.wait_for_function("video => video.currentTime > 0", arg=video)
    return video.evaluate("video => [video.videoWidth, video.videoHeight]")


def test_words_become_a_played_video_and_with_a_style_another_one(page):
    assert "Still needed: what is to be seen" in page.locator("#why").inner_text()
    page.locator("textarea[name=prompt]").fill("a cat on a red chair")
    page.locator(".estimate dl").wait_for()
    assert "8 × 64 × 48" in page.locator(".estimate").inner_text()
    start(page)
    assert played(page) == [64, 48]
    without = page.request.get(page.locator("video").evaluate("video => video.currentSrc")).body()
    assert page.locator(".list strong").first.inner_text() == "a cat on a red chair"

    page.get_by_role("button", name="Use these settings again").click()
    assert page.locator("textarea[name=prompt]").input_value() == "a cat on a red chair"
    page.get_by_role("button", name="Add a style").click()
    page.get_by_label("Style", exact=True).select_option("style")
    page.get_by_label("Weight of the style").fill("1")
    start(page)
    assert played(page) == [64, 48]
    assert "style" in page.locator("table.settings").inner_text()
    assert page.request.get(page.locator("video").evaluate("video => video.currentSrc")).body() != without


def test_first_and_last_picture_and_a_video_with_a_mask_become_videos(page, media):
    page.get_by_role("radio", name="Pictures").check()
    for role, file in (("start_image", "start.png"), ("end_image", "end.png")):
        page.locator(f"[data-role={role}] input").set_input_files(media / file)
        page.wait_for_selector(f"[data-role={role}][data-state=there]")
    page.locator("textarea[name=prompt]").fill("waves")
    start(page)
    assert played(page) == [64, 48]
    page.goto(re.sub("#.*", "#video", page.url))
    page.get_by_role("radio", name="Video", exact=True).check()
    for role, file in (("video", "video.mp4"), ("mask", "mask.png")):
        page.locator(f"[data-role={role}] input").set_input_files(media / file)
        page.wait_for_selector(f"[data-role={role}][data-state=there]")
    start(page)
    assert played(page) == [64, 48]
