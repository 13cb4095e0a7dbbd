"""Config and source of the dataset that a module's `DATASET` names; some modules have their own."""

import pytest

from tests import made_up_sources


@pytest.fixture
def config(request, tmp_path):
    return made_up_sources.config_for(request.module.DATASET, tmp_path)


@pytest.fixture
def source(request, tmp_path):
    getattr(made_up_sources, f"make_{request.module.DATASET}")(tmp_path / "source")
    return tmp_path / "source"
