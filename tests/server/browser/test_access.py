"""What keyboards, screen readers and weak eyes need, in every state of the page, in both themes."""

import re
from pathlib import Path

import pytest

from tests.server.browser.conftest import SECONDS
from tests.server.browser.test_page import PHONE, TABS, give_sample, start

pytestmark = pytest.mark.long

CONTROLS = {"button", "link", "textbox", "combobox", "checkbox", "radio", "slider", "spinbutton", "progressbar"}
CONTROLS |= {"image", "img", "Video", "radiogroup", "navigation", "DisclosureTriangle"}  # as Chromium calls them
LEAST = 4.5  # contrast of words
THEMES = ("dark", "light")

SCRIPT = Path(__file__).with_name("access.js").read_text(encoding="utf-8")


def ask(page, call):
    """What a function of access.js says of the page."""
    if not page.evaluate("'access' in window"):
        page.evaluate(SCRIPT.partition("\n")[2])
    return page.evaluate(f"access.{call}")


def nameless(page):
    """Controls and pictures that the browser's tree for screen readers has no name of."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    known = [node for node in nodes if not node["ignored"] and node["role"]["value"] in CONTROLS]
    assert len(known) > 4
    return [
        (node["role"]["value"], node.get("properties", [])[:2]) for node in known if not node["name"]["value"].strip()
    ]


def go(page, tab):
    page.goto(re.sub("#.*|$", f"#{tab}", page.url, count=1))
    page.locator(f".tabs a[href='#{tab}'][aria-current]").wait_for()
    page.locator("#panel h1").wait_for()


def post(page, job):
    """A job that is asked for beside the page: its id."""
    made = page.request.post(f"{page.url.partition('#')[0]}jobs", data=job)
    assert made.ok, made.text()
    return made.json()["id"]


def states(page, media):
    """Brings the page to each of its states, one after the other: their names."""
    for tab in TABS[:3]:
        go(page, tab)
        page.locator("#panel .columns").wait_for()
        for details in page.locator("details").all():
            details.evaluate("details => { details.open = true; }")
        yield f"{tab} with all settings"
    for variant in ("Pictures", "Video"):
        go(page, "video")
        page.get_by_role("radio", name=variant, exact=True).check()
        yield f"video of {variant}"
    go(page, "animate")
    page.locator("[data-role=reference_image] input").set_input_files(media / "video.mp4")
    page.locator("[data-role=reference_image] .wrong:not(:empty)").wait_for()
    yield "another kind of file"
    for role, file in (("reference_image", "me.png"), ("driving_video", "dance.mp4")):
        page.locator(f"[data-role={role}] input").set_input_files(media / file)
        page.wait_for_selector(f"[data-role={role}][data-state=there]")
    page.wait_for_selector(".aligned:not([aria-busy]) canvas")
    page.locator(".estimate dl").wait_for()
    yield "people and alignment"
    page.locator("input[name=width]").fill("5")
    yield "a value out of bounds"
    for name in ("width", "height"):
        page.locator(f"input[name={name}]").fill("8192")
    page.get_by_role("radio", name="Video of skeletons").check()
    give_sample(page)
    page.locator(".estimate .wrong").wait_for()
    yield "what does not fit"
    for name in ("width", "height"):
        page.locator(f"input[name={name}]").fill("64")
    page.get_by_role("checkbox", name="Measure the result").check()
    start(page, num_frames=4, num_inference_steps=400)
    page.locator(".now").get_by_text("Making the frames").wait_for()
    yield "a job that runs"
    page.get_by_role("button", name="Stop").click()
    page.locator(".card .state[data-state=cancelled]").wait_for()
    yield "a job that was stopped"
    page.get_by_role("button", name="Use these settings again").click()
    page.wait_for_selector("[data-role=pose_video][data-state=there]")
    page.locator(".estimate dl").wait_for()
    start(page, num_frames=2, num_inference_steps=2)
    page.locator(".numbers").wait_for()
    yield "a job that is done"
    ids = page.evaluate("async () => (await (await fetch('jobs?limit=1')).json()).jobs[0].files")
    wrong = {"context_frames": 500, "num_frames": 48, "width": 64, "height": 64}
    failed = post(page, {"system": "animate_anyone", "options": wrong, "files": ids})
    page.goto(re.sub("#.*", f"#jobs/{failed}", page.url))
    page.locator(".card .state[data-state=failed]").wait_for()
    yield "a job that has failed"


def test_words_can_be_read_and_controls_have_names_in_every_state(open_page, media):
    page = open_page()
    seen, faults = [], {}
    for state in states(page, media):
        seen.append(state)
        found = [*nameless(page), *ask(page, "doubled()")]
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            count, weak = ask(page, f"contrasts({LEAST})")
            assert count > 10
            found += [(theme, *each) for each in weak]
        if page.locator("[id]").count() != page.evaluate(
            "new Set([...document.querySelectorAll('[id]')].map((n) => n.id)).size"
        ):
            found.append("ids twice")
        if found:
            faults[state] = found
    assert faults == {} and len(seen) == 13


@pytest.mark.parametrize(("theme", "colour"), [("light", "#999"), ("dark", "#555")])
def test_weak_colours_and_nameless_controls_would_be_found(open_page, theme, colour):
    page = open_page()
    page.emulate_media(color_scheme=theme)
    assert ask(page, f"contrasts({LEAST})")[1] == []
    page.evaluate("colour => { document.querySelector('h1').style.color = colour; }", colour)
    page.evaluate("document.querySelector('#panel').append(document.createElement('button'))")
    weak = ask(page, f"contrasts({LEAST})")[1]
    assert [text for text, *_ in weak] == ["Animate a person"] and [role for role, _ in nameless(page)] == ["button"]


@pytest.mark.parametrize("settings", [{}, PHONE], ids=["desk", "phone"])
def test_the_keyboard_goes_through_all_controls_in_their_order_and_each_is_seen_then(open_page, settings):
    page = open_page(**settings)
    give_sample(page)
    page.locator(".estimate dl").wait_for()
    page.reload()  # from the beginning: what was entered stays
    page.locator(".estimate dl").wait_for()
    reachable, order = ask(page, "reachable()"), []
    for _ in range(reachable + 5):
        page.keyboard.press("Tab")
        found = ask(page, "focused()")
        if found is None:
            break
        order.append(found)
    assert [each for each in order[1:] if not all(each[1:])] == []
    assert len(order) == reachable


def test_screen_readers_are_told_of_the_progress_and_of_the_end(open_page):
    page = open_page()
    give_sample(page)
    assert ask(page, "heard") == []
    assert page.locator("#spoken").get_attribute("aria-live") == "polite"
    start(page, num_frames=8, num_inference_steps=60)
    bar = page.get_by_role("progressbar")
    assert bar.get_attribute("aria-label") == "Progress"
    page.wait_for_function("/%/.test(document.querySelector('[role=progressbar]').getAttribute('aria-valuetext'))")
    page.locator("video").wait_for(timeout=SECONDS * 1000)
    told = ask(page, "heard")
    assert told[0] == "The job is in the queue" and told[-1] == "The job is done"
    assert any(re.fullmatch(r"[A-Z][a-z ]+, \d+%", text) for text in told), told
