"""A workdir's vocabulary: the one its networks know, whatever happens to the file."""

import json

import pytest

from attngan_jax.data import workdir_vocabulary
from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.workdir import Workdir

WORDS = Vocabulary([END, "a", "red", "bird"])
OTHER = Vocabulary([END, "a", "bird", "red"])
DAMAGE = {
    "a flipped bit": lambda path: path.write_bytes(path.read_bytes().replace(b"red", b"rad")),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:8]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


def test_it_is_kept_though_the_dataset_has_another_by_now(tmp_path):
    files = Workdir(tmp_path)
    assert workdir_vocabulary.keep(files, WORDS) == WORDS
    assert workdir_vocabulary.keep(files, OTHER) == WORDS == workdir_vocabulary.load(files)
    assert files.vocabulary.read_text() == "<end>\na\nred\nbird\n"
    assert json.loads(files.digests.read_text())["vocabulary.txt"][0] == 17


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_one_is_the_datasets_again_or_an_error(how, tmp_path, caplog):
    files = Workdir(tmp_path)
    workdir_vocabulary.keep(files, WORDS)
    DAMAGE[how](files.vocabulary)
    with pytest.raises(UserError, match="vocabulary.txt is damaged: run attngan_jax.main again"):
        workdir_vocabulary.load(files)
    with pytest.raises(UserError, match="damaged, and the dataset has other words by now"):
        workdir_vocabulary.keep(files, OTHER)
    assert workdir_vocabulary.keep(files, WORDS) == WORDS == workdir_vocabulary.load(files)
    assert "was damaged: it is the dataset's again" in caplog.text
    assert (tmp_path / "vocabulary.txt.damaged").exists() == (how != "gone")


def test_older_runs_have_no_digest(tmp_path):
    WORDS.save(tmp_path / "vocabulary.txt")
    (tmp_path / "vocabulary.txt").write_text("<end>\na\n")
    assert len(workdir_vocabulary.load(Workdir(tmp_path))) == 2
    assert len(workdir_vocabulary.keep(Workdir(tmp_path), WORDS)) == 2
