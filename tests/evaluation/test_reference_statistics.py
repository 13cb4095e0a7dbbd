"""Statistics of real images in files: what is read of other programs, and what is refused."""

import io
import json
import zipfile

import numpy as np
import pytest

from attngan_jax.errors import UserError
from attngan_jax.evaluation.metrics import fid_kid
from attngan_jax.evaluation.metrics.fid_kid import Features, Statistics
from attngan_jax.evaluation.reference_statistics import (
    ReferenceCache,
    read_reference,
    write_reference,
)

FEATURES = Features("torchvision-dmgan", "abc", "by Pillow")
D = 5


@pytest.fixture
def arrays():
    """As pytorch-fid's and DM-GAN's files have them."""
    root = np.random.default_rng(0).normal(size=(D, D))
    return {"mu": np.arange(D, dtype=np.float64), "sigma": root @ root.T}


def of(mean, covariance):
    sample = np.ones((9, D), np.float32)
    return Statistics(FEATURES, 700, mean, covariance, sample, "700 test images of cub")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_of_another_program_is_taken_as_given(save, arrays, tmp_path):
    path = tmp_path / "bird_val.npz"
    save(path, mu=arrays["mu"].astype(np.float32), sigma=np.asfortranarray(arrays["sigma"]))
    given = read_reference(path, FEATURES, D)
    np.testing.assert_array_equal(given.mean, arrays["mu"])
    np.testing.assert_allclose(given.covariance, arrays["sigma"], rtol=1e-12)
    assert (given.features, given.file, given.num_images) == (FEATURES, "bird_val.npz", 0)
    assert given.images.startswith("bird_val.npz, as given (SHA-256 ")
    made = of(arrays["mu"] + 2.0, arrays["sigma"])
    fid, kid = fid_kid.distances(made, given)
    np.testing.assert_allclose(fid, 4.0 * D, rtol=1e-6)
    assert kid is None  # there are no features of single images


def test_what_is_written_is_what_pytorch_fid_reads_and_comes_back(arrays, tmp_path):
    path = tmp_path / "new" / "reference.npz"
    write_reference(path, of(arrays["mu"], arrays["sigma"]))
    with np.load(path) as file:  # as pytorch-fid does
        np.testing.assert_array_equal(file["mu"][:], arrays["mu"])
        np.testing.assert_array_equal(file["sigma"][:], arrays["sigma"])
        assert json.loads(str(file["provenance"]))["num_images"] == 700
    again = read_reference(path, FEATURES, D)
    np.testing.assert_array_equal(again.covariance, arrays["sigma"])
    assert again.images.endswith("which says: 700 test images of cub")
    for name, other in (("family", "tf-2015"), ("weights_sha256", "def"), ("resize", "not at all")):
        features = Features(**(vars(FEATURES) | {name: other}))
        with pytest.raises(UserError, match=f"another {name}"):
            read_reference(path, features, D)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def npy(array, shape=None, **options) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, **options)
    data = content.getvalue()
    if shape is not None:  # declares another shape, in a header of the same length
        old, new = str(array.shape).encode(), str(shape).encode()
        at, spaces = data.index(b"}"), len(new) - len(old)
        data = data[:at].replace(old, new) + b"}" + data[at + 1 + spaces :]
    return data


def test_files_that_are_refused(arrays, tmp_path):
    """Each in one line, whatever it holds; no declared size is believed, nothing is unpickled."""
    good = {name: npy(array) for name, array in arrays.items()}
    trap = np.empty(D, object)
    trap[:] = [Trap()] * D
    nan, bent = arrays["sigma"].copy(), arrays["sigma"].copy()
    nan[1, 2], bent[1, 2] = np.nan, 100.0
    members = {
        "missing": {"mu": good["mu"]},
        "of object": {"mu": npy(trap, allow_pickle=True)},
        "of int64": {"mu": npy(np.arange(D))},
        r"mu is \[6\], of these features \[5\]": {"mu": npy(np.zeros(D + 1))},
        r"sigma is \[5\]": {"sigma": good["mu"]},
        r"mu is \[900000000000\]": {"mu": npy(arrays["mu"], (900_000_000_000,))},
        "does not hold the 25 numbers": {"sigma": good["sigma"][:-8]},
        "does not hold the 5 numbers": {"mu": good["mu"] + b"more than it says"},
        "not finite": {"sigma": npy(nan)},
        "not symmetric": {"sigma": npy(bent)},
        "magic string": {"mu": b"not an array at all"},
    }
    for message, changed in members.items():
        path = tmp_path / "file.npz"
        with zipfile.ZipFile(path, "w") as file:
            for name, content in ({} if message == "missing" else good | changed).items():
                file.writestr(f"{name}.npy", content)
        match = "no item named 'mu.npy'" if message == "missing" else message
        with pytest.raises(UserError, match=f"file.npz cannot be used .*{match}") as raised:
            read_reference(path, FEATURES, D)
        assert "\n" not in str(raised.value) and "as pytorch-fid writes it" in str(raised.value)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a zip file"):
        read_reference(path, FEATURES, D)
    np.savez(path, mu=trap, sigma=arrays["sigma"], provenance=trap)
    with pytest.raises(UserError, match="mu is of object"):
        read_reference(path, FEATURES, D)
    with pytest.raises(UserError, match="cannot be read"):
        read_reference(tmp_path / "none.npz", FEATURES, D)


def test_what_a_file_holds_beyond_its_arrays_is_not_unpacked(arrays, tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mu.npy", npy(arrays["mu"]) + bytes(1 << 20))
        file.writestr("sigma.npy", npy(arrays["sigma"]))
    asked, read = [], zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda self, n=-1: asked.append(n) or read(self, n)
    )
    with pytest.raises(UserError, match="does not hold the 5 numbers it declares"):
        read_reference(path, FEATURES, D)
    assert 0 <= min(asked) and max(asked) < 1_000


def test_the_cache_goes_where_it_can(arrays, tmp_path, caplog):
    """A dataset's folder that takes no files is passed over for the workdir's."""
    (tmp_path / "taken").write_text("a file where the folder would be")
    folders = [tmp_path / "taken", tmp_path / "workdir" / "reference"]
    cache = ReferenceCache(folders, FEATURES, {"dataset": "birds"})
    assert cache.load() is None
    cache.save(of(arrays["mu"], arrays["sigma"]))
    assert not cache.paths[0].exists() and cache.paths[1].exists()
    assert ReferenceCache(folders, FEATURES, {"dataset": "birds"}).load().num_images == 700
    nowhere = ReferenceCache(folders[:1], FEATURES, {"dataset": "birds"})
    nowhere.save(of(arrays["mu"], arrays["sigma"]))  # the scores are not lost for it
    assert nowhere.load() is None and "no folder can be written" in caplog.text
