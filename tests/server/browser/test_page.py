"""The page as visitors use it, in a real browser against a real server with the small model."""

import re

import pytest

from ppdiffusers_ext.server.page_files import FOLDER
from tests.server.browser.conftest import ROOT

PICTURE, SKELETONS = ROOT / "assets" / "reference.png", ROOT / "assets" / "pose.mp4"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TABS = ("animate", "video", "face", "jobs")


def give_sample(page):
    """The sample, as files of the visitor's own."""
    page.get_by_role("radio", name="Video of skeletons").check()
    page.locator("[data-role=reference_image] input").set_input_files(PICTURE)
    page.locator("[data-role=pose_video] input").set_input_files(SKELETONS)
    page.wait_for_selector("[data-role=reference_image][data-state=there]")
    page.wait_for_selector("[data-role=pose_video][data-state=there]")


def start(page, name="Start", **options):
    """Start a job with some options, by a button of that name, and wait until it is shown."""
    for option, value in options.items():
        page.locator(f"input[name={option}]").fill(str(value))
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_url(re.compile("#jobs/.+"))
    page.locator(".card .state").wait_for()


def start_long_job(page):
    give_sample(page)
    start(page, num_frames=4, num_inference_steps=1000)
    page.locator(".now").get_by_text("Making the frames").wait_for()


def test_a_new_visitor_animates_the_sample_from_upload_to_a_played_result(open_page):
    page = open_page()
    give_sample(page)
    page.locator(".estimate dl").wait_for()
    assert "48 × 192 × 192" in page.locator(".estimate").inner_text()
    page.get_by_role("checkbox", name="Measure the result").check()
    start(page, num_frames=4, num_inference_steps=3)
    page.locator("video").wait_for()
    video = page.locator("video").element_handle()
    video.evaluate("video => { video.muted = true; return video.play(); }")
    page.wait_for_function("video => video.currentTime > 0", arg=video)
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [192, 192]
    page.locator(".numbers").wait_for()
    assert "Sharpness" in page.locator(".numbers").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes()[4:8] == b"ftyp"
    for name, shown in (("Side by side", "video"), ("Contact sheet", "img")):
        page.get_by_role("radio", name=name).check()
        page.locator(f".screen {shown}").wait_for()

    page.get_by_role("button", name="Use these settings again").click()
    page.wait_for_selector("[data-role=pose_video][data-state=there]")
    assert page.locator("input[name=num_frames]").input_value() == "4"
    assert page.get_by_role("button", name="Start", exact=True).is_enabled()


def test_the_sample_button_gives_what_is_needed(open_page):
    page = open_page()
    page.get_by_role("button", name="Try the sample").click()
    page.wait_for_selector("[data-role=pose_video][data-state=there]")
    page.locator(".estimate dl").wait_for()
    assert page.get_by_role("button", name="Start", exact=True).is_enabled()


def test_a_running_job_is_in_view_after_a_reload_and_stops_when_told(open_page):
    page = open_page()
    start_long_job(page)
    address = page.url
    page.locator(".screen img").wait_for()
    page.reload()
    page.locator(".now").get_by_text("Making the frames").wait_for()
    assert page.url == address
    before = float(page.get_by_role("progressbar").get_attribute("aria-valuenow"))
    page.wait_for_function(
        "before => Number(document.querySelector('[role=progressbar]').getAttribute('aria-valuenow')) > before",
        arg=before,
    )
    page.get_by_role("button", name="Stop").click()
    page.locator(".card .state[data-state=cancelled]").wait_for()
    assert page.get_by_role("button", name="Stop").count() == 0
    page.locator(".list .state[data-state=cancelled]").first.wait_for()

    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove the job").click()
    page.wait_for_url(re.compile("#jobs$"))
    page.locator(f".list a[href='#{address.partition('#')[2]}']").wait_for(state="detached")


def test_text_that_is_called_mp4_is_refused_in_words_beside_its_field(open_page, tmp_path):
    page = open_page(refusals=1)
    path = tmp_path / "dance.mp4"
    path.write_text("This is no video.\n" * 100)
    drop = page.locator("[data-role=driving_video]")
    drop.locator("input").set_input_files(path)
    drop.locator(".wrong:not(:empty)").wait_for()
    assert "accepted" in drop.locator(".wrong").inner_text()
    assert drop.locator("input").get_attribute("aria-invalid") == "true"
    assert page.get_by_role("button", name="Start", exact=True).is_disabled()


REFUSED = {
    "a video of what is none": ("dance.mp4", b"This is no video.\n" * 100, "driving_video", "不是可读取的图片或视频"),
    "an empty file": ("dance.mp4", b"", "driving_video", "是空文件"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_in_chinese_on_the_chinese_page(open_page, tmp_path, name):
    page = open_page(locale="zh-CN", refusals=1)
    file, content, role, words = REFUSED[name]
    (tmp_path / file).write_bytes(content)
    page.locator(f"[data-role={role}] input").set_input_files(tmp_path / file)
    wrong = page.locator(f"[data-role={role}] .wrong:not(:empty)")
    wrong.wait_for()
    assert words in wrong.inner_text() and "accepted" not in wrong.inner_text()


def test_words_of_the_library_stand_in_a_chinese_sentence_with_their_language(open_page):
    page = open_page(locale="zh-CN", refusals=1)
    page.get_by_role("button", name="试用示例").click()
    page.wait_for_selector("[data-role=pose_video][data-state=there]")
    page.get_by_text("更多设置").click()
    page.locator("[name=context_overlap]").fill("8")
    page.locator("[name=context_frames]").fill("4")
    told = page.locator(".estimate .wrong")
    told.wait_for()
    assert "服务器说明（英文）：" in told.inner_text() and "accepted" in told.locator("[lang=en]").inner_text()


def test_the_alignment_is_shown_before_the_run_and_again_when_it_changes(open_page, media):
    page = open_page()
    for role, file in (("reference_image", "me.png"), ("driving_video", "dance.mp4")):
        page.locator(f"[data-role={role}] input").set_input_files(media / file)
        page.wait_for_selector(f"[data-role={role}][data-state=there]")
    picture = ".aligned:not([aria-busy]) canvas"
    page.wait_for_selector(picture)
    pixels = f"document.querySelector('{picture}')?.toDataURL()"
    shown = page.evaluate(pixels)
    page.get_by_text("More settings").click()
    page.locator("select[name=align]").select_option(label="none")
    page.wait_for_function(f"before => {{ const now = {pixels}; return now && now !== before; }}", arg=shown)
    shown = page.evaluate(pixels)
    page.get_by_role("slider", name="Frame of the video").fill("5")
    page.wait_for_function(f"before => {{ const now = {pixels}; return now && now !== before; }}", arg=shown)
    page.get_by_role("button", name="中文").click()
    page.wait_for_selector(picture)
    assert "姿态对齐到图片后的位置" in page.locator(".aligned figcaption").inner_text()


def test_values_out_of_bounds_are_told_beside_their_fields_before_anything_is_sent(open_page):
    page = open_page()
    give_sample(page)
    page.locator("input[name=width]").fill("5")
    wrong = page.locator("[data-option=width] .wrong")
    assert "64 to 8,192" in wrong.inner_text()
    assert page.get_by_role("button", name="Start", exact=True).is_disabled()
    page.locator("input[name=width]").fill("128")
    assert wrong.inner_text() == ""


def test_what_cannot_fit_is_refused_before_the_run(open_page):
    page = open_page()
    give_sample(page)
    for name in ("width", "height"):
        page.locator(f"input[name={name}]").fill("8192")
    page.locator(".estimate .wrong").wait_for()
    assert "This does not fit." in page.locator(".estimate").inner_text()
    assert page.get_by_role("button", name="Start", exact=True).is_disabled()


def test_chinese_is_taken_from_the_browser_and_a_switch_is_remembered(open_page):
    page = open_page(locale="zh-CN")
    assert page.locator("h1").inner_text() == "让人物动起来"
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert "像素" in page.locator("[data-option=width] .hint").inner_text()
    page.get_by_role("button", name="English").click()
    page.get_by_role("heading", name="Animate a person").wait_for()
    page.reload()
    page.get_by_role("heading", name="Animate a person").wait_for()
    assert page.get_attribute("html", "lang") == "en"


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_nothing_is_wider_than_a_phone(open_page, language):
    page = open_page(locale=language, **PHONE)
    for tab in TABS:
        page.goto(f"{page.url.partition('#')[0]}#{tab}")
        page.locator(f".tabs a[href='#{tab}'][aria-current]").wait_for()
        page.locator("#panel h1").wait_for()
        for details in page.locator("details").all():
            details.evaluate("details => { details.open = true; }")
        for spacing in ("0", "0.05em"):  # fonts of other machines are wider
            page.evaluate("spacing => { document.body.style.letterSpacing = spacing; }", spacing)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, (tab, spacing)


def test_all_controls_have_names_and_the_keyboard_reaches_them(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("radio", name="Video of a person").focus()
    page.keyboard.press("ArrowRight")
    page.locator("[data-role=pose_video]").wait_for()
    assert page.evaluate("document.activeElement.value") == "pose_video"
    for tab in TABS[:3]:
        page.goto(f"{page.url.partition('#')[0]}#{tab}")
        page.locator("#panel .columns").wait_for()
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea, button, a")]
            .filter((node) => !node.labels?.length && !node.getAttribute("aria-label") && !node.textContent.trim())
            .map((node) => node.outerHTML)"""
        )
        assert nameless == [], tab


def test_every_file_of_the_page_is_served_as_what_it_is(open_page):
    page = open_page()
    for path in FOLDER.rglob("*.*"):
        answer = page.request.get(f"{page.url.partition('#')[0]}page/{path.relative_to(FOLDER).as_posix()}")
        assert answer.ok, path
        kinds = {".js": "javascript", ".css": "css", ".json": "json", ".svg": "svg", ".html": "html"}
        assert kinds[path.suffix] in answer.headers["content-type"]
