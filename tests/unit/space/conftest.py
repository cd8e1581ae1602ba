"""What the space tests share."""

from __future__ import annotations

import pytest
from tests.unit.space.phantom import Phantom, make_phantom


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make_phantom()
