"""How much of the long tests to run: `make test` a sample, `make faults` (FAULTS=all) everything."""

import os

import pytest

CAMPAIGN = os.environ.get("FAULTS") == "all"


def only_in_campaign(why: str) -> pytest.MarkDecorator:
    """Mark a test that `make faults` alone runs."""
    return pytest.mark.skipif(not CAMPAIGN, reason=f"{why}: make faults")
