"""Published weights from a server on this machine: made-up files, small, with ids of their own."""

import functools
import http.server
import pathlib
import threading

import numpy as np
import pytest

import attngan_jax
from attngan_jax import workdir
from attngan_jax.conversion import published
from attngan_jax.errors import UserError
from attngan_jax.interop import write_safetensors
from configs import default
from tests import tiny_runs
from tests.conversion.test_convert import CONFIG, DIMENSIONS, TABLES, WORDS
from tests.made_up_sources import captions_pickle
from tests.reference_vectors import state_dict

NAMES = {"generator": "netG", "text_encoder": "text_encoder"}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder, from where a Range says; `stop_after` bytes the line goes dead."""

    def __init__(self, *arguments, server_state, **options):
        self.state = server_state
        super().__init__(*arguments, **options)

    def do_GET(self):
        path = self.state["folder"] / pathlib.Path(self.path).name
        self.state["requests"].append((path.name, self.headers.get("Range")))
        if not path.exists():
            self.send_error(404)
            return
        content, start = path.read_bytes(), 0
        if self.state["resumes"] and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.state["stop_after"]])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(originals):
    """The server's state, `address` among it; tests change it while it runs."""
    state = {"folder": originals, "requests": [], "resumes": True, "stop_after": None}
    handler = functools.partial(Handler, server_state=state)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state["address"] = f"http://127.0.0.1:{running.server_port}"
        yield state
        running.shutdown()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder of a tiny model's three files."""
    folder = tmp_path_factory.mktemp("originals")
    for name in NAMES.values():
        kind, dimensions = DIMENSIONS[name]
        rows = [(row.pt, row.shape) for row in TABLES[kind].rows(dimensions)]
        write_safetensors(folder / f"{name}.safetensors", state_dict(rows))
    (folder / "captions.pickle").write_bytes(captions_pickle(WORDS, [[1, 2, 3]], [[1, 3]]))
    return folder


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path, originals):
    """The tiny model in the place of CUB's, and a cache of its own."""

    def config():
        tiny = default.get_config()
        tiny.update_from_flattened_dict(CONFIG | {"generator.legacy_mask": True})
        return tiny.lock()

    paths = {part: originals / f"{name}.safetensors" for part, name in NAMES.items()}
    paths["captions"] = originals / "captions.pickle"
    files = {part: (path.name, published.blob_id(path)) for part, path in paths.items()}
    model = published.MODELS["cub"]._replace(files=files, config=config, address="http://none")
    monkeypatch.setitem(published.MODELS, "cub", model)
    monkeypatch.setitem(workdir.PUBLISHED, "cub-published", tmp_path / "cache" / "cub")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return model


def test_git_names_contents_as_this_does(tmp_path):
    (tmp_path / "file").write_bytes(b"what is up, doc?")  # the example of git's own book
    assert published.blob_id(tmp_path / "file") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_load_fetches_once_and_generates(monkeypatch, server, tiny):
    monkeypatch.setitem(published.MODELS, "cub", tiny._replace(address=server["address"]))
    model = attngan_jax.load("cub-published")
    assert model.config.generator.legacy_mask and list(model.vocabulary.words) == WORDS
    assert model.generate(["a red bird"]).images.shape == (1, 16, 16, 3)
    expected = state_dict_of(server["folder"] / "netG.safetensors")
    folder = workdir.PUBLISHED["cub-published"]
    written = state_dict_of(folder / "model.safetensors")
    for name, array in expected.items():
        np.testing.assert_array_equal(written[f"netG.{name}"], array)
    card = (folder / "README.md").read_text()
    assert "Tao Xu" in card and "MIT License" in card and "this permission notice" in card
    assert len(server["requests"]) == 3
    attngan_jax.load("cub-published")
    assert len(server["requests"]) == 3


def state_dict_of(path):
    return attngan_jax.interop.read_state_dict(path)


def test_an_interrupted_download_goes_on(server, tmp_path):
    path, (name, blob) = tmp_path / "file", next(iter(published.MODELS["cub"].files.values()))
    size = (server["folder"] / name).stat().st_size
    server["stop_after"] = size // 5
    with pytest.raises(UserError, match="not reached to its end.*goes on from there.*--files"):
        published.fetch(f"{server['address']}/{name}", path, blob)
    part = published.partial(path, f"{server['address']}/{name}")
    assert part.stat().st_size == 3 * (size // 5) and not path.exists()
    server["stop_after"] = None
    published.fetch(f"{server['address']}/{name}", path, blob)
    assert server["requests"][-1] == (name, f"bytes={3 * (size // 5)}-")
    assert published.blob_id(path) == blob and not part.exists()
    part.write_bytes(path.read_bytes())  # stopped between the last byte and the check
    path.unlink()
    published.fetch(f"{server['address']}/{name}", path, blob)
    assert path.exists()


def test_a_server_that_cannot_resume_sends_it_whole(server, tmp_path):
    name, blob = published.MODELS["cub"].files["captions"]
    server["resumes"] = False
    path, address = tmp_path / "file", f"{server['address']}/{name}"
    published.partial(path, address).write_bytes(b"something")
    published.fetch(address, path, blob)
    assert published.blob_id(path) == blob


def test_a_download_does_not_go_on_from_another_address(server, tmp_path):
    name, blob = published.MODELS["cub"].files["captions"]
    path, address = tmp_path / "file", f"{server['address']}/{name}"
    published.partial(path, "http://127.0.0.1:9/" + name).write_bytes(b"something else")
    published.fetch(address, path, blob)
    assert server["requests"] == [(name, None)] and published.blob_id(path) == blob
    assert list(tmp_path.iterdir()) == [path]


def test_another_content_is_refused_and_not_kept(server, tmp_path):
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in server["folder"].iterdir():
        (changed / path.name).write_bytes(path.read_bytes()[:-1] + b"x")
    server["folder"] = changed
    with pytest.raises(UserError, match="not the published file.*not kept") as raised:
        published.make("cub", tmp_path / "out", mirror=server["address"])
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()
    cache = workdir.PUBLISHED["cub-published"].parent
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    with pytest.raises(UserError, match="not the published file.*not imported"):
        published.make("cub", tmp_path / "out", mirror=str(changed))
    with pytest.raises(UserError, match="none of the published"):
        published.make("cub", tmp_path / "out", files=[changed / "captions.pickle"])
    server["folder"] = tmp_path
    with pytest.raises(UserError, match="404"):
        published.make("cub", tmp_path / "out", mirror=server["address"])


def test_files_of_any_name_and_their_folder(originals, tmp_path):
    paths = [tmp_path / f"{n}" for n in range(3)]
    names = [name for name, _ in published.MODELS["cub"].files.values()]
    for path, name in zip(paths, names):
        path.write_bytes((originals / name).read_bytes())
    with pytest.raises(UserError, match="--files lacks captions.pickle"):
        published.make("cub", tmp_path / "by_file", files=paths[:2])
    suffixed = [
        p.rename(p.with_name(p.name + pathlib.Path(n).suffix)) for p, n in zip(paths, names)
    ]
    published.make("cub", tmp_path / "by_file", files=suffixed[::-1])
    published.make("cub", tmp_path / "by_folder", files=[originals])
    published.make("cub", tmp_path / "by_mirror", mirror=str(originals))
    models = [
        (tmp_path / f"by_{way}" / "model.safetensors") for way in ("file", "folder", "mirror")
    ]
    assert len({path.read_bytes() for path in models}) == 1
    with pytest.raises(UserError, match="not empty"):
        published.make("cub", tmp_path / "by_file", files=[originals])


@pytest.mark.parametrize(
    "arguments, code, parts",
    [
        (
            "cub --mirror http://127.0.0.1:9",
            1,
            ["bird_AttnGAN2.pth", "check the network", "--files"],
        ),
        ("cub --files README.md", 1, ["README.md is none of the published", "eval/data"]),
        ("cub --mirror .", 1, ["bird_AttnGAN2.pth cannot be read"]),
        ("coco", 2, ["say which model: cub"]),
        ("cub more", 2, ["more"]),
    ],
)
def test_the_command_says_what_to_do_in_one_line(tmp_path, arguments, code, parts):
    done = tiny_runs.start_command(f"published {arguments} --out {tmp_path}/out")
    tiny_runs.assert_one_line(done, code, *parts)
    assert not (tmp_path / "out").exists()
