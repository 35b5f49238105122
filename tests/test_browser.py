"""The pages as a person meets them: in a real browser, with a mouse or the keyboard, wide or on a phone."""

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

import reporting
from attrition import stage
from tests import servers
from tests.browser import PHONE, WIDE, Browser, browsing
from tests.clientbase import HOSTILE, through_the_stages
from tests.projects import Project
from tests.servers import Server

KEY = "a-key-of-this-server"
NAMES = ".risks .client bdi"
# every text that is seen: its colour against the nearest background that is no glass
FAINT = """
const channels = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (c) => {
  const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045
    ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = channels(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const told = [];
for (const element of document.body.querySelectorAll("*")) {
  const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join("").trim();
  if (!text || element.tagName === "OPTION" || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const colour = channels(element instanceof SVGElement ? style.fill : style.color);
  const pair = [light(colour), light(behind(element))];
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  if (ratio < 4.5) told.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
}
return told;
"""
# what reaches beyond the window, aside from what lies in a region that can be scrolled by itself
CUT = """
const wide = [...document.body.querySelectorAll("*")].filter((element) =>
  element.checkVisibility() && !element.closest(".scroll, .skip, details:not([open])")
  && element.getBoundingClientRect().right > innerWidth + 1);
const beyond = document.documentElement.scrollWidth - innerWidth;
return [beyond, wide.map((element) => element.outerHTML.slice(0, 80))];
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Project:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTRITION_PACKAGE_CHECK", "off")
        project = Project(tmp_path_factory.mktemp("seen"))
        through_the_stages(project, "logistic")
        stage.step(project.config(run="b-run"), "reporting", reporting.run)
    return project


@pytest.fixture(scope="module")
def server(served: Project) -> Iterator[Server]:
    with servers.serving(served.home) as running:
        yield running


@pytest.fixture(scope="module")
def window(server: Server) -> Iterator[Browser]:
    with browsing(server.url) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The one window, wide and light again; nothing may have been blocked or failed in it."""
    window.size(*WIDE)
    window.scheme("light")
    window.scripts(True)
    window.complaints()
    yield window
    window.scripts(True)
    assert window.complaints() == []


def clients(server: Server, **asked: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/risk", params=asked).json()["clients"]
    return found


def names(browser: Browser) -> list[str]:
    found: list[str] = browser.script(
        f"return [...document.querySelectorAll('{NAMES}')].map((e) => e.textContent)"
    )
    return found


def first_fifty(listed: list[dict[str, Any]]) -> list[str]:
    return [each["corporation"] for each in listed][:50]


def test_the_list_is_the_first_thing_below_how_things_stand(browser: Browser, server: Server) -> None:
    browser.open("/")
    assert names(browser) == first_fifty(clients(server))
    assert browser.texts("h2") == ["LOOK\nHave a look", "Today's list", "What changed", "Trends"]
    assert browser.one(".risks tbody tr").rect["y"] < WIDE[1]
    browser.follow("a[rel=next]")
    assert names(browser) == [each["corporation"] for each in clients(server)][50:100]


@pytest.mark.parametrize("with_script", [True, False])
def test_the_list_is_narrowed_with_and_without_script(
    browser: Browser, server: Server, with_script: bool
) -> None:
    browser.scripts(with_script)
    browser.open("/")
    browser.one("#owner option[value=Bo]").click()
    browser.one("#band option[value=low]").click()
    browser.follow(".filters button")
    wanted = first_fifty(clients(server, owner="Bo", band="low"))
    assert wanted and browser.texts(NAMES) == wanted
    assert browser.one("#owner").get_property("value") == "Bo"
    browser.follow(".found a")
    assert browser.one("#owner").get_property("value") == ""


def test_a_heading_sorts_the_list_and_says_how(browser: Browser, server: Server) -> None:
    browser.open("/?owner=Ann")
    for direction, sign in (("descending", -1), ("ascending", 1)):
        browser.follow("th.money-col a")
        assert browser.one("th[aria-sort]").get_attribute("aria-sort") == direction
        of_ann = [each for each in clients(server, owner="Ann") if each["expected_loss"] is not None]
        of_ann.sort(key=lambda each: (sign * each["expected_loss"], each["rank"]))
        assert names(browser) == first_fifty(of_ann)


def test_everything_is_reached_with_the_keyboard_alone_and_seen_to_be(
    browser: Browser, server: Server
) -> None:
    browser.open("/")
    press(browser, Keys.TAB)
    assert focus(browser) == "Skip to the content" and browser.one(".skip").rect["x"] >= 0
    press(browser, Keys.ENTER)
    assert browser.script("return document.activeElement.id") == "main"
    reach(browser, "document.activeElement.id === 'q'")
    with browser.leaving():
        press(browser, "client05003", Keys.ENTER)
    assert names(browser) == ["client05003"]
    reach(browser, "document.activeElement.closest('.found')")
    with browser.leaving():
        press(browser, Keys.ENTER)
    reach(browser, "document.activeElement.closest('th.risk-col')")
    with browser.leaving():
        press(browser, Keys.ENTER)
    assert browser.one("th.risk-col").get_attribute("aria-sort") == "descending"
    reach(browser, "document.activeElement.id === 'status-of'")
    press(browser, "st", Keys.ENTER)
    reach(browser, "document.activeElement.tagName === 'BUTTON'")
    with browser.leaving():
        press(browser, Keys.ENTER)
    assert names(browser) == first_fifty(clients(server, status="steady"))
    reach(browser, "document.activeElement.closest('.client')")
    with browser.leaving():
        press(browser, Keys.ENTER)
    assert browser.one("h1").text == clients(server, status="steady")[0]["corporation"]


def press(browser: Browser, *keys: str) -> None:
    browser.driver.switch_to.active_element.send_keys(*keys)


def focus(browser: Browser) -> str:
    return browser.driver.switch_to.active_element.text


def reach(browser: Browser, there: str) -> None:
    """Press Tab until it is reached; whatever has the focus on the way must show it."""
    for _ in range(60):
        press(browser, Keys.TAB)
        style = browser.script("return getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none", browser.script("return document.activeElement.outerHTML")
        if browser.script(f"return Boolean({there})"):
            return
    raise AssertionError(f"the keyboard does not lead there: {there}")


def test_a_client_of_any_name_is_one_click_away(browser: Browser) -> None:
    """Those that a browser would write otherwise; the server is asked for all of them elsewhere."""
    reshaped = [name for name in HOSTILE if any(mark in name for mark in "/%.?\\<\n")]
    assert len(reshaped) == 15
    browser.open("/?sort=client")
    while reshaped:
        for name in [name for name in reshaped if name in names(browser)]:
            with browser.leaving():
                browser.all(".risks .client a")[names(browser).index(name)].click()
            assert browser.script("return document.querySelector('h1').textContent.trim()") == name
            assert browser.script("return document.querySelectorAll('script').length") == 0
            with browser.leaving():
                browser.driver.back()
            reshaped.remove(name)
        if reshaped:
            browser.follow("a[rel=next]")


def test_the_bars_of_a_client_add_up_on_the_screen(browser: Browser, server: Server) -> None:
    name = clients(server)[0]["corporation"]
    browser.open("/")
    browser.follow(".risks .client a")
    told = server.get(f"/clients/{name}").json()
    edges = browser.script(
        "return [...document.querySelectorAll('.why .waterfall :is(.stop, rect)')]"
        ".map((e) => e.getBoundingClientRect()).map((r) => [r.left, r.right])"
    )
    effects = [reason["effect"] for reason in told["reasons"]]
    (start, _), *bars, (end, _) = edges
    assert len(bars) == len(effects)
    pixels = (end - start) / (told["log_odds"] - told["base"])
    at = start
    for (left, right), effect in zip(bars, effects, strict=True):
        begins, at = at, at + effect * pixels
        assert (left, right) == pytest.approx((min(begins, at), max(begins, at)), abs=4)
    texts = browser.texts(".why .effect")
    assert [float(text) for text in texts] == pytest.approx(
        [told["base"], *effects, told["log_odds"]], abs=0.0051
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
@pytest.mark.parametrize("place", ["/", "/clients/client05003", "/clients/nobody", "/?q=nobody", "/report"])
def test_every_word_stands_out_and_none_is_cut(
    browser: Browser, place: str, size: tuple[int, int], scheme: str
) -> None:
    browser.size(*size)
    browser.scheme(scheme)
    browser.open(place)
    dark = browser.script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 30)"
    assert dark is (scheme == "dark")
    assert browser.script(FAINT) == []
    assert browser.script(CUT) == [0, []]
    if place == "/clients/nobody":
        # the status alone is a complaint
        assert all("404" in complaint for complaint in browser.complaints())


def test_on_a_phone_each_client_is_a_card(browser: Browser, server: Server) -> None:
    browser.size(*PHONE)
    browser.open("/")
    first = browser.one(".risks tbody tr")
    assert first.rect["width"] <= PHONE[0] and first.rect["height"] > 100
    assert not browser.one(".risks thead").is_displayed()
    for label in ("Rank", "Manager", "Expected loss"):
        assert browser.all(f".risks [data-label='{label}']")
    browser.one("#sort option[value='-loss']").click()
    browser.follow(".filters button")
    assert (
        names(browser)[0]
        == max(
            (each for each in clients(server) if each["expected_loss"] is not None),
            key=lambda each: (each["expected_loss"], -each["rank"]),
        )["corporation"]
    )


def test_on_paper_there_is_nothing_to_click(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        browser.open("/")
        assert not any(browser.one(place).is_displayed() for place in ("nav", ".filters", ".pager", ".skip"))
        assert browser.one(".risks thead").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_person_logs_in_with_a_key_and_out_again(served: Project, browser: Browser) -> None:
    with servers.serving(served.home, ATTRITION_API_KEYS=KEY) as keyed:
        browser.driver.get(f"{keyed.url}/clients/one%2Ftwo")
        assert browser.one("h1").text == "Log in"
        assert focus(browser) == "" and browser.script("return document.activeElement.id") == "key"
        assert browser.script(FAINT) == [] and browser.script(CUT) == [0, []]
        with browser.leaving():
            press(browser, "wrong", Keys.ENTER)
        assert "No such key may look at this." in browser.one("[role=alert]").text
        complaints = browser.complaints()
        assert all("403" in complaint for complaint in complaints), complaints
        with browser.leaving():
            press(browser, KEY, Keys.ENTER)
        assert browser.one("h1").text == "one/two"
        assert browser.script("return document.cookie") == ""
        [cookie] = browser.driver.get_cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert KEY not in cookie["value"]
        browser.follow("nav form button")
        assert browser.one("h1").text == "Log in"
        browser.driver.get(f"{keyed.url}/")
        assert browser.one("h1").text == "Log in"


def test_the_report_s_tables_are_sorted_and_searched_by_script(browser: Browser) -> None:
    browser.open("/report")
    before = rows_of_the_first_table(browser)
    heading = browser.all("#list thead button")[1]
    assert heading.text.startswith("Client")
    for downwards in (True, False):
        heading.click()
        assert rows_of_the_first_table(browser) == sorted(before, key=str.lower, reverse=downwards)
    browser.one("#list-search").send_keys(before[3])
    shown = [row for row in browser.all("#list tbody tr") if row.is_displayed()]
    assert before[3] in [row.find_element("css selector", ".client").text for row in shown]
    assert all(before[3] in row.text for row in shown)
    assert browser.one("#list output").text == f"{len(shown)} found"


def rows_of_the_first_table(browser: Browser) -> list[str]:
    return [
        row.find_element("css selector", ".client").text
        for row in browser.one("#list tbody").find_elements("css selector", "tr")
    ]


def test_without_script_the_report_is_complete(browser: Browser) -> None:
    browser.open("/report")
    with_script = browser.script("return [...document.querySelectorAll('main td, main th')].length")
    browser.scripts(False)
    browser.open("/report")
    assert len(browser.all("main td, main th")) == with_script
    assert not browser.one("[data-search]").is_displayed() and browser.all("th button") == []
