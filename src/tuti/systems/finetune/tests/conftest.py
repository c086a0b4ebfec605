from pathlib import Path

import pytest

from tuti.systems.finetune.tests.small import build


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    build(folder)
    return folder
