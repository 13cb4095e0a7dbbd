"""The page in Chromium: mouse, keyboard and touch, light and dark, desktop and phone."""

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait
from synthetic_run import WORDS

from attngan_jax.reporting import figures, page
from tests.browser import CONTRAST, chromium  # noqa: F401

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
# The words of the first explorer that are lit, and the pixels [r, g, b, a] of the maps shown.
SHOWN = """const explorer = document.querySelector(".explorer");
const pixels = (canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [...Array(data.length / 4).keys()].map((n) => [...data.slice(4 * n, 4 * n + 4)]); };
return [[...explorer.querySelectorAll("button.lit")].map((button) => button.textContent),
  [...explorer.querySelectorAll(".lens.on canvas")].map(pixels)];"""
TEXTS = """h1|p|.metrics td|.metrics th|.words button|.words .lit|figcaption|.bar-name|.chart text
|nav a|summary""".replace("\n", "").split("|")


@pytest.fixture
def view(chromium, finished):  # noqa: F811
    """A finished run's page at a desktop's size; it may log no error and load nothing."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get(page.write_report(finished).as_uri())
    yield chromium
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []
    loaded = "return performance.getEntriesByType('resource').map((e) => e.name)"
    assert [name for name in chromium.execute_script(loaded) if not name.startswith("data:")] == []


def word_buttons(view):
    return view.find_elements("css selector", ".explorer .words button")[: len(WORDS[0])]


def assert_shows(view, word):
    """The word is lit, and its maps of 8 and 16 pixels, whose peaks `attention_maps` put there."""
    lit, maps = view.execute_script(SHOWN)
    assert lit == ([] if word is None else [WORDS[0][word]])
    assert [pixels.index(max(pixels)) for pixels in maps] == ([] if word is None else [word, word])


def test_pointing_at_a_word_shows_its_map_on_every_stage(view):
    for word, button in enumerate(word_buttons(view)):
        ActionChains(view).scroll_to_element(button).move_to_element(button).perform()
        assert_shows(view, word)


def test_the_overlay_is_that_of_the_figures(view):
    """Image and canvas, blended by the browser, against `overlay_attention` at its peak."""
    *_, (pixels, _) = view.execute_script(SHOWN)
    red, green, blue, alpha = max(pixels)
    assert (red, green, blue) == pytest.approx(figures.HEAT, abs=3)
    assert alpha / 255 == pytest.approx(figures.HEAT_STRENGTH, abs=0.01)


def test_the_keyboard_reaches_every_word_and_leaves_again(view):
    def press(*keys):
        ActionChains(view).send_keys(*keys).perform()

    view.execute_script("document.querySelector('#step').focus()")
    for _ in range(60):
        press(Keys.TAB)
        if view.execute_script("return document.activeElement.matches('.words button')"):
            break
    assert_shows(view, 0)
    outline = view.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    keys = {
        1: [Keys.ARROW_RIGHT],
        3: [Keys.ARROW_RIGHT, Keys.ARROW_RIGHT],
        0: [Keys.HOME, Keys.ENTER],
    }
    for word in keys:
        press(*keys[word])
        assert_shows(view, word)
    assert view.execute_script("return document.activeElement.ariaPressed") == "true"
    press(Keys.ESCAPE)
    assert_shows(view, None)
    press(Keys.ARROW_RIGHT, Keys.TAB)  # out of the caption, whose other words are no stops
    left = "return !document.activeElement.closest('.words').contains(arguments[0])"
    assert view.execute_script(left, word_buttons(view)[0])


def test_every_picture_has_a_label(view):
    labels = """return [...document.querySelectorAll("img, canvas, svg[role]")].map((element) =>
      element.alt || element.ariaLabel || "")"""
    found = view.execute_script(labels)
    assert found and all(found)
    assert any(label.startswith("Attention to “") and "peak" in label for label in found)


def test_no_label_of_an_axis_is_cut_off(view):
    outside = """return [...document.querySelectorAll(".chart text")].filter((text) => {
      const box = text.getBoundingClientRect();
      const chart = text.closest(".chart > svg").getBoundingClientRect();
      return box.width && (box.left < chart.left - 1 || box.right > chart.right + 1);
    }).map((text) => text.textContent)"""
    assert view.execute_script(outside) == []


def test_a_phone_shows_all_of_it_and_a_tap_pins_a_word(view):
    view.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    root = "document.documentElement"
    wide, inner = view.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert wide <= inner == PHONE["width"]
    buttons = word_buttons(view)
    assert all(min(button.size["height"], button.size["width"]) >= 24 for button in buttons)
    centre = """arguments[0].scrollIntoView({block: "center", behavior: "instant"});
      const box = arguments[0].getBoundingClientRect();
      return {x: box.left + box.width / 2, y: box.top + box.height / 2}"""
    point = view.execute_script(centre, buttons[1])
    view.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, points in (("touchStart", [point]), ("touchEnd", [])):
        view.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    WebDriverWait(view, 10).until(lambda _: "lit" in buttons[1].get_attribute("class"))
    view.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert_shows(view, 1)
    lens = view.find_elements("css selector", ".explorer .lens.on")[1].rect
    assert 0 <= lens["x"] and lens["x"] + lens["width"] <= PHONE["width"] and lens["width"] >= 80


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(view, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    view.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    ground = view.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (int(ground[4:].split(",")[0]) < 60) == (scheme == "dark")
    for selector in TEXTS:
        ratios = view.execute_script(CONTRAST, selector)
        assert ratios and min(ratios) >= 4.5, (selector, min(ratios or [0]))


def test_the_slider_steps_through_training(view):
    slider = view.find_element("id", "step")
    for key, step in (("", 300), (Keys.ARROW_LEFT, 200), (Keys.HOME, 100)):
        slider.send_keys(key)
        assert view.find_element("id", "step-now").text == str(step)
        image = view.find_element("css selector", ".frame.now img")
        assert image.get_attribute("alt") == f"Generated at step {step}: the bird is red"


def test_a_chart_shows_the_values_under_the_pointer_until_it_leaves(view):
    chart = view.find_element("css selector", "#curves .chart")
    parts = ("svg", ".cross", ".chart-at", "b")
    svg, line, step, value = (chart.find_element("css selector", part) for part in parts)
    assert (line.get_attribute("visibility"), value.text) == ("hidden", "1")
    ActionChains(view).scroll_to_element(svg).move_to_element_with_offset(svg, -40, 0).perform()
    assert (line.get_attribute("visibility"), step.text) == ("visible", "step 20")
    assert float(value.text) == pytest.approx(3, abs=0.05)
    ActionChains(view).move_to_element(view.find_element("css selector", "#curves h2")).perform()
    assert (line.get_attribute("visibility"), value.text) == ("hidden", "1")
