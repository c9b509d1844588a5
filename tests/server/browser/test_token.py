"""The page of a server that asks for a token, from the sign-in to a result that is there after a reload."""

import re

import pytest

from tests.server.browser.conftest import TOKEN
from tests.server.browser.test_page import start

pytestmark = pytest.mark.long

WORDS = {
    "en-US": {"lang": "en", "token": "Token", "sign": "Sign in", "wrong": "not the token", "sample": "Try the sample",
              "start": "Start", "again": "does not know this browser"},
    "zh-CN": {"lang": "zh", "token": "令牌", "sign": "登录", "wrong": "令牌不正确", "sample": "试用示例",
              "start": "开始", "again": "服务器已不认识此浏览器"},
}  # fmt: skip


def sign_in(page, words, token):
    page.get_by_label(words["token"]).fill(token)
    page.get_by_role("button", name=words["sign"]).click()


@pytest.mark.parametrize("language", WORDS)
def test_a_visitor_signs_in_after_a_wrong_token_and_runs_and_finds_the_result_after_a_reload(
    visit, closed_address, language
):
    words = WORDS[language]
    page = visit(closed_address, refusals=3, wait="#token", locale=language)
    assert page.get_attribute("html", "lang") == words["lang"]
    assert page.evaluate("document.activeElement.id") == "token"
    sign_in(page, words, "not-the-token-of-this-server")
    assert words["wrong"] in page.get_by_role("alert").inner_text()
    assert page.get_by_label(words["token"]).get_attribute("aria-invalid") == "true"
    assert page.context.cookies() == []
    sign_in(page, words, f" {TOKEN} ")
    page.wait_for_selector("#panel h1")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert page.evaluate("document.cookie") == "" and TOKEN not in page.url and TOKEN not in cookie["value"]
    page.get_by_role("button", name=words["sample"]).click()
    page.wait_for_selector("[data-role=pose_video][data-state=there]")
    start(page, words["start"], num_frames=2, num_inference_steps=1)
    page.locator("video").wait_for()
    address = page.url
    page.reload()
    page.locator("video").wait_for()
    assert page.url == address
    assert page.request.get(f"{closed_address}jobs").ok

    page.context.clear_cookies()
    page.goto("about:blank")  # away from the page, whose look at the server would be refused, too
    page.goto(closed_address)
    page.wait_for_selector("#token")
    assert page.request.get(f"{closed_address}jobs").status == 401


@pytest.mark.parametrize("language", WORDS)
def test_a_page_whose_cookie_has_ended_says_so_and_leads_to_the_sign_in(visit, closed_address, language):
    page = visit(f"{closed_address}?token={TOKEN}", refusals=2, locale=language)
    assert "token" not in page.url
    page.context.clear_cookies()
    page.goto(f"{closed_address}#jobs")  # the page stays, and asks for the jobs
    notice = page.locator("#notice")
    notice.get_by_text(WORDS[language]["again"]).wait_for()
    notice.get_by_role("link").click()
    page.wait_for_selector("#token")
    assert re.fullmatch(f"{closed_address}(#jobs)?", page.url)
