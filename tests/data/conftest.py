"""Config and source of the dataset that a module's `DATASET` names; some modules have their own."""

import pytest
from absl import flags

from tests import made_up_sources


@pytest.fixture(autouse=True, scope="session")
def parsed_flags():
    """Grain's workers read absl flags."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@pytest.fixture
def config(request, tmp_path):
    return made_up_sources.config_for(request.module.DATASET, tmp_path)


@pytest.fixture
def source(request, tmp_path):
    getattr(made_up_sources, f"make_{request.module.DATASET}")(tmp_path / "source")
    return tmp_path / "source"
