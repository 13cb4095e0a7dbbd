"""The demo's answers to requests, its limits, and its page in Chromium."""

import base64
import contextlib
import functools
import html
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait
from tiny_model import WORDS, tiny_model  # noqa: F401

import attngan_jax
from attngan_jax.errors import UserError
from attngan_jax.sampling import demo_images, demo_server
from attngan_jax.sampling.demo_images import Settings, parse_settings
from tests import tiny_runs
from tests.browser import CONTRAST, chromium  # noqa: F401

RED, BLUE = "a red bird with black wings", "this bird is blue"
BOTH = "caption=a+red+bird+with+black+wings&caption=this+bird+is+blue&seed=5&images=2"


@pytest.fixture(scope="module")
def server(tiny_model):  # noqa: F811
    with demo_server.Server("127.0.0.1", 0) as server:
        server.demo = demo_images.Demo(tiny_model)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def get(server, path, **headers):
    """Status, headers and body of the answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def error_line(body):
    text = json.loads(body)["error"]
    assert "\n" not in text and len(text) < 300
    return text


def test_a_links_settings():
    assert parse_settings(BOTH + "&truncation=0.7") == Settings((RED, BLUE), 5, 2, 0.7)
    assert parse_settings("caption=+a++bird+&caption=") == Settings(("a bird",), 0, 4, None)


@pytest.mark.parametrize(
    "query, part",
    [
        ("", "caption is empty"),
        ("caption=+", "caption is empty"),
        ("caption=a&caption=b&caption=c", "3 captions are too many"),
        (f"caption={'a' * 301}", "301 characters"),
        ("caption=a&seed=-1", "seed=-1"),
        ("caption=a&seed=4294967296", "seed=4294967296"),
        ("caption=a&seed=1.5", "seed=1.5"),
        ("caption=a&images=3", "choose one of 1, 2, 4, 8"),
        ("caption=a&images=1000", "images=1000"),
        ("caption=a&truncation=nan", "truncation=nan"),
        ("caption=a&truncation=0", "truncation=0"),
        ("&".join(["caption=a"] * 17), "too many settings"),
    ],
)
def test_settings_beyond_the_limits_get_one_line(query, part, server):
    with pytest.raises(UserError, match=part):
        parse_settings(query)
    status, _, body = get(server, f"generate?{query}")
    assert status == 400 and part in error_line(body)


def test_the_images_are_those_of_the_model(server, tiny_model):  # noqa: F811
    status, headers, body = get(server, f"generate?{BOTH}")
    assert status == 200 and headers["Content-Type"] == "application/json"
    text = json.loads(body)["html"]
    uris = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))) for uri in uris]
    out = attngan_jax.load(tiny_model).generate([RED, BLUE], seed=5, num_images=2)
    # Of each image the last stage comes first.
    np.testing.assert_allclose(np.stack(images[::2]).astype(int), out.images, atol=1)
    np.testing.assert_allclose(np.stack(images[1::2]).astype(int), out.stages[0], atol=1)
    words = re.findall(r'<button type="button" data-word[^>]*>(\w+)<', text)
    assert words == [*RED.split(), *BLUE.split()]
    assert get(server, f"generate?{BOTH}")[2] == body
    assert get(server, f"generate?{BOTH.replace('seed=5', 'seed=6')}")[2] != body


def test_all_images_as_one_png(server):
    status, headers, body = get(server, f"images.png?{BOTH}&truncation=0.7")
    assert status == 200 and 'filename="images_seed_5.png"' in headers["Content-Disposition"]
    image = Image.open(io.BytesIO(body))
    assert image.format == "PNG" and image.width > 2 * 192 and image.height > 2 * 192


def test_unknown_words_are_named_and_nothing_is_markup(server):
    text = json.loads(get(server, "generate?caption=red+%3Cimg+src%3Dx%3E+bird&images=1")[2])[
        "html"
    ]
    assert "<img src=x>" not in text and html.escape("<img src=x>") in text
    assert "know them: img, src, x." in text
    status, _, body = get(server, "generate?caption=%3Cb%3E+zebra&images=1")
    assert status == 400 and "knows no word of “<b> zebra”" in error_line(body)
    assert f"{len(WORDS)} words, such as a, red" in error_line(body)


def test_the_page_holds_all_it_needs(server):
    status, headers, body = get(server, "?caption=whatever")
    page = body.decode()
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    facts = re.search(r'id="facts">(.*?)</script>', page)
    assert json.loads(facts[1])["words"] == WORDS


def test_requests_that_are_none_of_its_own(server):
    assert get(server, "etc/passwd")[0] == 404
    assert get(server, f"generate?caption={'a' * 9000}")[0] == 414
    assert get(server, f"generate?{BOTH}", Sec_Fetch_Site="cross-site")[0] == 403
    assert get(server, f"generate?{BOTH}", Sec_Fetch_Site="same-origin")[0] == 200
    post = functools.partial(urllib.request.urlopen, server.url + "generate", data=b"x" * 100)
    with pytest.raises(urllib.error.HTTPError, match="501"):
        post()


def test_one_at_a_time_few_wait_and_the_others_are_told(server, monkeypatch):
    begun, go_on, running = threading.Semaphore(0), threading.Event(), []

    def slow(settings):
        running.append(settings)
        assert len(running) == 1
        begun.release()
        go_on.wait(60)
        running.remove(settings)
        raise UserError("enough")

    monkeypatch.setattr(server.demo, "generate", slow)
    with ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
        stack.callback(go_on.set)
        waiting = [pool.submit(get, server, f"generate?{BOTH}") for _ in range(2)]
        begun.acquire()
        while len(server.queue._visitors) < 2:
            time.sleep(0.01)
        status, headers, body = get(server, f"generate?{BOTH}")
        assert status == 429 and "try again" in error_line(body) and headers["Retry-After"]
        monkeypatch.setattr(demo_server, "MAX_WAITING", 2)
        monkeypatch.setattr(demo_server, "MAX_WAITING_EACH", 9)
        status, headers, body = get(server, f"generate?{BOTH}")
        assert status == 503 and "many people" in error_line(body) and headers["Retry-After"]
        assert get(server, "")[0] == 200  # the page itself needs no turn
        go_on.set()
        assert [one.result()[0] for one in waiting] == [400, 400]
    assert server.queue._visitors == []


@pytest.mark.parametrize("pause", [0.05, 60], ids=["a byte now and then", "silence"])
def test_a_request_has_a_time_to_arrive_in(pause, server, monkeypatch):
    monkeypatch.setattr(demo_server, "SECONDS_TO_SEND", 0.5)
    ended = threading.Event()
    with socket.create_connection(server.server_address[:2]) as visitor:

        def send():
            visitor.sendall(b"GET / HTTP/1.1\r\nX: ")
            with contextlib.suppress(ConnectionError):
                while not ended.wait(pause):
                    visitor.sendall(b"x")

        sender = threading.Thread(target=send)
        sender.start()
        visitor.settimeout(30)
        try:
            with contextlib.suppress(ConnectionError):  # it closes with bytes left to read
                assert visitor.recv(1000) == b""
        finally:
            ended.set()
            sender.join()
    assert get(server, "")[0] == 200


def test_a_mistake_of_the_program_is_one_line(server, monkeypatch):
    monkeypatch.setattr(server.demo, "generate", lambda settings: 1 / 0)
    status, _, body = get(server, f"generate?{BOTH}")
    assert status == 500 and "its log says why" in error_line(body)


def test_an_address_that_will_not_do_gets_one_line(server):
    assert server.server_address[0] == "127.0.0.1"
    port = server.server_address[1]
    done = tiny_runs.start_command(f"demo --model x --port {port}")
    tiny_runs.assert_one_line(done, 1, f"port {port}", "choose another --port")
    done = tiny_runs.start_command("demo --model no_such_model --port 0")
    tiny_runs.assert_one_line(done, 1, "there is no folder no_such_model")


@pytest.mark.parametrize("main_thread", ["waits", "starts the other late"])
def test_the_command_says_where_and_ends_by_ctrl_c(tiny_model, main_thread):  # noqa: F811
    # A shell's background processes, and so their children, would ignore the signal.
    # It comes while a request is accepted, and not answered yet.
    code = """import runpy, signal, threading, time
from attngan_jax.sampling.demo_server import Handler, Server
answer, accept = Handler.do_GET, Server.process_request
def answer_late(handler):
    time.sleep(1)
    answer(handler)
def accept_slowly(*arguments):
    accept(*arguments)
    print("accepted", flush=True)
    time.sleep(2)
Handler.do_GET, Server.process_request = answer_late, accept_slowly
start = threading.Thread.start
def start_late(thread):
    start(thread)
    if "serve_forever" in thread.name:  # that of a thread says its function
        time.sleep(5)
if LATE:
    threading.Thread.start = start_late
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("attngan_jax", run_name="__main__")"""
    code = code.replace("LATE", str(main_thread != "waits"))
    command = [sys.executable, "-c", code, "demo", "--model", tiny_model, "--port", "0"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with subprocess.Popen(command, cwd=tiny_runs.ROOT, text=True, **pipes) as process:
        assert process.stdout.readline().startswith("Loading")
        url = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(urllib.request.urlopen, url[0], timeout=60)
            assert process.stdout.readline() == "accepted\n"
            process.send_signal(signal.SIGINT)
            assert answer.result().status == 200
        assert process.wait(60) == 0 and process.stderr.read() == ""


@pytest.fixture
def view(chromium, server):  # noqa: F811
    """The page with its first images; it may log no error."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get(server.url)
    until_made(chromium)
    chromium.get_log("browser")
    yield chromium
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def until_made(view):
    cards = "return document.querySelector('#cards').ariaBusy === 'false'"
    WebDriverWait(view, 300).until(lambda _: view.execute_script(cards))


def find(view, selector):
    return view.find_elements("css selector", selector)


def pressed(view, *keys):
    ActionChains(view).send_keys(*keys).perform()


def type_caption(view, text):
    box = view.find_element("id", "caption-1")
    box.clear()
    box.send_keys(text)


def test_a_caption_is_typed_generated_and_explored_by_keyboard(view):
    assert len(find(view, ".images li")) == 4
    type_caption(view, RED + Keys.ENTER)
    until_made(view)
    buttons = find(view, ".words button")
    assert [button.text for button in buttons] == RED.split()
    assert "caption=a+red+bird+with+black+wings" in view.current_url
    view.execute_script("arguments[0].focus()", buttons[0])
    pressed(view, Keys.ARROW_RIGHT)
    assert [button.text for button in find(view, ".words .lit")] == ["red"]
    assert len(find(view, ".lens.on")) == 4  # the last stage of each image: the first has no maps
    pressed(view, Keys.ESCAPE)
    assert not find(view, ".lens.on")
    ActionChains(view).move_to_element(buttons[2]).perform()
    assert [button.text for button in find(view, ".words .lit")] == ["bird"]


def test_unknown_words_are_marked_while_typing_and_replaced(view):
    type_caption(view, "a yel")
    assert not find(view, "mark")  # it may become "yellow"
    view.find_element("id", "caption-1").send_keys("ow brid")
    assert [mark.get_attribute("textContent") for mark in find(view, "mark")] == ["yelow", "brid"]
    names = [button.text for button in find(view, ".unknown button")]
    assert names == ["yellow?", "bird?"]
    find(view, ".unknown button")[0].click()
    assert view.find_element("id", "caption-1").get_attribute("value") == "a yellow brid"
    assert [mark.get_attribute("textContent") for mark in find(view, "mark")] == ["brid"]


def test_two_captions_and_the_link_that_gives_them_again(view):
    view.find_element("id", "compare").click()
    second = view.find_element("id", "caption-2")
    second.clear()
    second.send_keys(BLUE)
    view.find_element("id", "noise").click()
    until_made(view)
    sources = [image.get_attribute("src") for image in find(view, ".images .last img")]
    saved = [link.get_attribute("href") for link in find(view, ".save")]
    assert len(find(view, ".explorer")) == 2 and len(set(sources)) == 8 and saved == sources
    link = view.current_url
    assert link.count("caption=") == 2
    assert view.find_element("id", "all").get_attribute("href") == link.replace("?", "images.png?")
    view.get(link)
    until_made(view)
    assert [image.get_attribute("src") for image in find(view, ".images .last img")] == sources


def test_what_the_server_refuses_is_a_line_on_the_page(view):
    type_caption(view, "zebra" + Keys.ENTER)
    until_made(view)
    error = view.find_element("id", "error")
    assert error.text.startswith("The model knows no word of “zebra”")
    type_caption(view, BLUE + Keys.ENTER)
    until_made(view)
    assert not error.is_displayed()
    view.get_log("browser")  # Chromium's own line on status 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_in_light_and_dark(view, scheme):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    view.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    view.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    type_caption(view, "a red zebra ")
    root = "document.documentElement"
    wide, inner = view.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert wide <= inner == 390
    buttons = [*find(view, ".words button"), *find(view, "form button, .bar button")]
    shown = [button.size for button in buttons if button.is_displayed()]
    assert len(shown) > 8 and min(min(size.values()) for size in shown) >= 24
    for selector in (
        "h1",
        "label",
        ".chip",
        "#go",
        ".unknown b",
        ".bar button",
        "figcaption",
        ".save",
    ):
        ratios = view.execute_script(CONTRAST, selector)
        assert ratios and min(ratios) >= 4.5, (selector, ratios)
