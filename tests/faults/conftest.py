"""The study makers of the index's tests."""

from tests.unit.bids.conftest import make

__all__ = ["make"]
