"""The page in a browser: what is drawn, what is loaded, and how it is reached without a mouse."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.report.certificates import DEMO, MEASURED, SECTION, VALID, body
from tests.report.records import ATTACK, FINDINGS, hostile_rows, rows_of_descent

from talweg.report import (
    Report,
    certificate_report,
    comparison_report,
    demo_report,
    experiment_report,
    joined_report,
    run_report,
    write,
)

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="NO BROWSER: the report was not tested in one; apt-get install chromium "
        "chromium-driver",
    ),
    pytest.mark.xdist_group("browser"),
]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
PATIENCE = 60.0
PHONE, DESKTOP = (390, 844), (1280, 900)
REPORTS: dict[str, Callable[[], Report]] = {
    "run": lambda: run_report(rows_of_descent(), FINDINGS, title="a run"),
    "layers": lambda: run_report(rows_of_descent(layers=[f"l{i}.weight" for i in range(40)])),
    "hostile": lambda: run_report(hostile_rows(), title=ATTACK),
    "comparison": lambda: comparison_report({"a" * 200: rows_of_descent(), "b": hostile_rows()}),
    "certificate": lambda: certificate_report(body("T9"), check=VALID, measured=MEASURED),
    "shares": lambda: certificate_report(
        body(),
        measured={
            "layers": {
                "method": "direction",
                "rows": 3,
                "of": 40,
                "named": True,
                "shares": [
                    (f"encoder.layers.{i}.self_attention.in_projection.weight", (40 - i) / 820)
                    for i in range(40)
                ]
                + [(ATTACK, 0.0)],
            }
        },
    ),
    "demo": lambda: demo_report(DEMO, certificate_report(body(), check=VALID, measured=MEASURED)),
    "joined": lambda: joined_report(
        [
            certificate_report(body(), file="a" * 300, measured=MEASURED),
            experiment_report([SECTION], title="lecture"),
            run_report(rows_of_descent()),
        ],
        title="1 certificate, 1 experiment and 1 run",
    ),
}


class Browser:
    """A chromium that is told which screen and which theme it has."""

    def __init__(self, folder: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(executable_path=DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.folder = folder

    def open(self, name: str, size: tuple[int, int] = DESKTOP, theme: str = "light") -> None:
        path = self.folder / f"{name}.html"
        if not path.exists():
            write(REPORTS[name](), path)
        self.devtools("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1],
                      deviceScaleFactor=1, mobile=size == PHONE)  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())
        begun = time.monotonic()
        while not self.js("document.documentElement.dataset.drawn"):
            assert time.monotonic() - begun < PATIENCE, self.driver.get_log("browser")
            time.sleep(0.05)

    def devtools(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, expression: str) -> Any:
        return self.driver.execute_script(f"return {expression};")

    def press(self, key: str) -> None:
        codes = {"Tab": 9, "Enter": 13}
        for kind in ("rawKeyDown", "char", "keyUp") if key == "Enter" else ("rawKeyDown", "keyUp"):
            self.devtools("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                          windowsVirtualKeyCode=codes[key],
                          **({"text": "\r"} if kind == "char" else {}))  # fmt: skip

    def requests(self) -> set[str]:
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
        return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.driver.quit()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("name", REPORTS)
def test_all_is_drawn_and_nothing_loaded(
    browser: Browser, name: str, size: tuple[int, int]
) -> None:
    browser.open(name, size)
    plots = browser.js("document.querySelectorAll('[data-figure]').length")
    assert plots == len(REPORTS[name]().figures)
    drawn = "Array.from(document.querySelectorAll('[data-figure]'))"
    assert browser.js(f"{drawn}.every(p => p.querySelector('svg.main-svg .cartesianlayer path, "
                      "svg.main-svg image'))")  # fmt: skip
    assert browser.driver.get_log("browser") == []  # errors, and what the policy refused
    assert {url for url in browser.requests() if not url.startswith("data:")} == {
        (browser.folder / f"{name}.html").as_uri()
    }
    assert browser.js("performance.getEntriesByType('resource').length") == 0
    assert browser.js("typeof window.pwned") == "undefined"
    width = browser.js("document.documentElement.scrollWidth")
    assert width <= browser.js("document.documentElement.clientWidth") <= size[0]
    too_wide = f"{drawn}.filter(p => p.getBoundingClientRect().right > {size[0]}).length"
    assert browser.js(too_wide) == 0


def test_a_tag_that_got_through_would_not_run(browser: Browser, tmp_path: Path) -> None:
    """The policy, apart from the escaping."""
    text = (browser.folder / "run.html").read_text() if (
        browser.folder / "run.html").exists() else write(
            REPORTS["run"](), browser.folder / "run.html").read_text()  # fmt: skip
    attack = "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    (browser.folder / "attacked.html").write_text(text.replace("<main", attack + "<main", 1))
    browser.open("attacked")
    assert browser.js("typeof window.pwned") == "undefined"
    refused = browser.driver.get_log("browser")
    assert any("Content Security Policy" in entry["message"] for entry in refused)


@pytest.mark.parametrize("name", ["run", "comparison", "certificate", "demo"])
def test_everything_is_reached_with_tab(browser: Browser, name: str) -> None:
    browser.open(name)
    seen = []
    for _ in range(80):
        browser.press("Tab")
        seen.append(browser.js(
            "(e => [e.tagName, e.getAttribute('href') || e.id || e.textContent.trim(), "
            "getComputedStyle(e).outlineStyle])(document.activeElement)"))  # fmt: skip
        if seen[-1][0] == "BODY":
            break
    assert seen[0][:2] == ["A", "#content"]
    assert seen[1][:2] == ["BUTTON", "theme"]
    anchors = browser.js("Array.from(document.querySelectorAll('section')).map(s => '#' + s.id)")
    assert [entry[1] for entry in seen[2 : 2 + len(anchors)]] == anchors
    assert sum(entry[0] == "SUMMARY" for entry in seen) == len(REPORTS[name]().figures)
    assert all(style != "none" for tag, _, style in seen if tag != "BODY")  # the focus is seen


def test_a_link_leads_to_its_section(browser: Browser) -> None:
    browser.open("run")
    for _ in range(4):
        browser.press("Tab")
    browser.press("Enter")
    assert browser.js("document.activeElement.id") == "loss"


def test_themes(browser: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    line = "document.querySelector('#plot-pl-ratio .js-line').style.stroke"
    text = "document.querySelector('#plot-pl-ratio .xtitle').style.fill"
    looks = {}
    for theme in ("light", "dark"):
        browser.open("run", theme=theme)
        looks[theme] = [browser.js(e) for e in (ground, line, text)]
        assert (
            browser.js("document.getElementById('theme').ariaPressed")
            == str(theme == "dark").lower()
        )
    assert all(a != b for a, b in zip(*looks.values(), strict=True))
    assert looks["dark"][0] == "rgb(20, 23, 28)"
    browser.driver.find_element("id", "theme").click()  # from dark to light
    begun = time.monotonic()
    while [browser.js(e) for e in (ground, line, text)] != looks["light"]:
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.05)
    assert browser.js("document.getElementById('theme').ariaPressed") == "false"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_slice(browser: Browser, size: tuple[int, int], theme: str) -> None:
    """Square, with the ball as a circle, its name readable in both themes."""
    browser.open("certificate", size, theme)
    plot = "document.getElementById('plot-landscape')"
    box = f"{plot}.querySelector('.plot .heatmaplayer image, .plot .contourlayer').getBBox()"
    width, height = browser.js(f"(b => [b.width, b.height])({box})")
    assert width > 150
    assert abs(width - height) < 2
    ring = f"{plot}.querySelector('.scatterlayer .trace path.js-line').getBBox()"
    across, high = browser.js(f"(b => [b.width, b.height])({ring})")
    assert 0.3 * width < across < width
    assert abs(across - high) < 2
    name = f"{plot}.querySelector('.annotation')"
    assert browser.js(f"{name}.textContent") == "certified ball"
    ground, text = browser.js(
        f"(e => [e.querySelector('.bg').style.fill, e.querySelector('text').style.fill])({name})"
    )
    assert (ground, text) == (
        ("rgb(255, 255, 255)", "rgb(26, 29, 34)") if theme == "light"
        else ("rgb(28, 32, 39)", "rgb(233, 235, 239)")
    )  # fmt: skip
    words = browser.js(f"{plot}.getAttribute('aria-label')")
    assert "a circle of radius at most" in words


def test_pictures_have_words(browser: Browser) -> None:
    browser.open("run")
    tree = browser.devtools("Accessibility.getFullAXTree")["nodes"]
    named = {
        role: [
            n["name"]["value"]
            for n in tree
            if n.get("role", {}).get("value") == role and not n["ignored"]
        ]
        for role in ("image", "figure", "navigation", "banner", "main", "contentinfo", "meter")
    }
    assert len(named["image"]) == len(named["figure"]) == len(REPORTS["run"]().figures)
    assert all(len(name) > 20 for name in named["image"])
    assert named["navigation"] == ["Sections"]
    assert [len(named[role]) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
    assert named["meter"] == ["75% sure", "45% sure, a remark"]


def test_paper(browser: Browser) -> None:
    """In the dark, too, what is printed is black on white and as wide as the page."""
    browser.open("run", theme="dark")
    browser.js("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.js("document.documentElement.dataset.theme") == "light"
    widths = "Array.from(document.querySelectorAll('svg.main-svg')).map(s => s.width.baseVal.value)"
    begun = time.monotonic()
    while set(browser.js(widths)) != {660}:
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.05)
    browser.js("window.dispatchEvent(new Event('afterprint'))")
    assert browser.js("document.documentElement.dataset.theme === undefined")
    assert len(browser.driver.print_page()) > 10_000
