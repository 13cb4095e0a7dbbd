"""The page as a person meets it: in Chromium, by mouse, keyboard and thumb, in light and dark."""

import pytest
from synthetic_run import WORDS

from attngan_jax.reporting import figures, page

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
# Of the explorer shown first: the generator's stages of 8 and 16 pixels.
LENSES = "[...document.querySelector('.explorer').querySelectorAll('.lens[data-maps]')]"
CONTRAST = """
const [selector] = arguments;
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map(
  (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
return [...document.querySelectorAll(selector)].slice(0, 20).map((element) => {
  let ground = element;
  while (ground && (parse(getComputedStyle(ground).backgroundColor)[3] ?? 1) === 0)
    ground = ground.parentElement;
  const [a, b] = [parse(getComputedStyle(element).color),
    parse(getComputedStyle(ground ?? document.body).backgroundColor)].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
});"""


@pytest.fixture
def view(chromium, finished):
    """The browser on a finished run's page, at a desktop's size, without errors on its console."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get(page.write_report(finished).as_uri())
    yield chromium
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def word_buttons(view):
    return view.find_elements("css selector", ".explorer:first-of-type .words button")[
        : len(WORDS[0])
    ]


def hottest_cells(view):
    """For each lens of the first explorer: its brightest cell as drawn, None while it is bare."""
    return view.execute_script(f"""return {LENSES}.map((lens) => {{
      if (!lens.classList.contains("on")) return null;
      const canvas = lens.querySelector("canvas");
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const colours = [...Array(data.length / 4).keys()].map((cell) => data[4 * cell]);
      return colours.indexOf(Math.max(...colours));
    }})""")


def expected_cells(word):
    """Where `synthetic_run` put the peak of a word's map at 8 and 16 pixels."""
    return [word * 2 // size * (size // 2) + word % (size // 2) for size in (8, 16)]


def lit_words(view):
    return view.execute_script(
        "return [...document.querySelector('.explorer')"
        ".querySelectorAll('button.lit')].map((b) => b.textContent)"
    )


def test_pointing_at_a_word_lays_its_map_over_every_stage(view):
    from selenium.webdriver import ActionChains

    for word, button in enumerate(word_buttons(view)):
        ActionChains(view).scroll_to_element(button).move_to_element(button).perform()
        assert lit_words(view) == [WORDS[0][word]]
        assert hottest_cells(view) == expected_cells(word)


def test_the_overlay_is_the_one_of_the_figures(view):
    """Image and canvas, blended by the browser, against `overlay_attention` in its full cell."""
    red, green, blue, alpha = view.execute_script(f"""
      const canvas = {LENSES}[0].querySelector("canvas");
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const cell = [...Array(data.length / 4).keys()].sort((a, b) => data[4 * b] - data[4 * a])[0];
      return [...data.slice(4 * cell, 4 * cell + 4)]""")
    assert (red, green, blue) == pytest.approx(figures.HEAT, abs=3)
    assert alpha / 255 == pytest.approx(figures.HEAT_STRENGTH, abs=0.01)


def test_the_keyboard_reaches_every_word_and_leaves_again(view):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        ActionChains(view).send_keys(*keys).perform()

    view.execute_script("document.querySelector('#step').focus()")
    for _ in range(60):
        press(Keys.TAB)
        if view.execute_script("return document.activeElement.matches('.words button')"):
            break
    assert lit_words(view) == [WORDS[0][0]] and hottest_cells(view) == expected_cells(0)
    outline = view.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    press(Keys.TAB)
    assert lit_words(view) == [WORDS[0][1]]
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert lit_words(view) == [WORDS[0][3]] and hottest_cells(view) == expected_cells(3)
    press(Keys.HOME, Keys.ENTER)
    assert lit_words(view) == [WORDS[0][0]]
    assert view.execute_script("return document.activeElement.ariaPressed") == "true"
    press(Keys.ESCAPE)
    assert lit_words(view) == [] and hottest_cells(view) == [None, None]


def test_a_phone_shows_all_of_it_and_a_tap_pins_a_word(view):
    from selenium.webdriver.support.wait import WebDriverWait

    view.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    wide, inner = view.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= inner == PHONE["width"]
    for button in word_buttons(view):
        assert button.size["height"] >= 24 and button.size["width"] >= 24
    x, y = view.execute_script(
        """
      arguments[0].scrollIntoView({block: "center", behavior: "instant"});
      const box = arguments[0].getBoundingClientRect();
      return [box.left + box.width / 2, box.top + box.height / 2]""",
        word_buttons(view)[1],
    )
    view.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        view.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    WebDriverWait(view, 10).until(lambda _: lit_words(view) == [WORDS[0][1]])  # the click follows
    view.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert lit_words(view) == [WORDS[0][1]] and hottest_cells(view) == expected_cells(1)
    box = view.execute_script(
        f"const b = {LENSES}[1].getBoundingClientRect();return [b.left, b.right, b.width]"
    )
    assert 0 <= box[0] < box[1] <= PHONE["width"] and box[2] >= 80


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(view, scheme):
    view.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    ground = view.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (int(ground[4:].split(",")[0]) < 60) == (scheme == "dark")
    for selector in (
        "h1",
        "p",
        ".metrics td",
        ".metrics th",
        ".words button",
        ".words .lit",
        "figcaption",
        ".bar-name",
        ".chart text",
        "nav a",
        "summary",
    ):
        ratios = view.execute_script(CONTRAST, selector)
        assert ratios and min(ratios) >= 4.5, (selector, min(ratios or [0]))


def test_the_time_line_steps_through_training(view):
    def now():
        return view.execute_script(
            "return [document.querySelector('#step-now').textContent, "
            "document.querySelector('.frame.now img').alt]"
        )

    from selenium.webdriver import Keys

    slider = view.find_element("id", "step")
    assert now()[0] == "300"
    slider.send_keys(Keys.ARROW_LEFT)
    assert now() == ["200", "Generated at step 200: the bird is red"]
    slider.send_keys(Keys.HOME)
    assert now()[0] == "100"


def test_nothing_goes_over_the_network(view):
    assert (
        view.execute_script(
            "return performance.getEntriesByType('resource').filter("
            "(e) => !e.name.startsWith('data:')).map((e) => e.name)"
        )
        == []
    )
