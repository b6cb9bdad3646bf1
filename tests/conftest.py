"""What all tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("geounet", deadline=None, max_examples=50)
settings.load_profile("geounet")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scenes, beside the project where there is one."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real scenes in {folder}")
    return folder
