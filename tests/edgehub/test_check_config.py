"""`edgetwin check-config` says which variables were meant to be settings."""

import pytest

from edgehub.commands.check_config import misspelt

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("variable", "near"),
    [("EDGETWIN_BROKR_PORT", "EDGETWIN_BROKER_PORT"), ("EDGETWIN_WEB_LISTN", "EDGETWIN_WEB_LISTEN")],
)
def test_a_variable_that_is_nearly_a_setting_is_told(variable, near):
    assert list(misspelt([variable, near, "PATH"])) == [(variable, near)]


@pytest.mark.parametrize(
    "variable",
    [
        "EDGETWIN_STATE",
        "EDGETWIN_CONFIG",
        "EDGETWIN_BROKER_PORT",
        "EDGETWIN_CLOUD_WEB_LISTEN",
        "EDGETWIN_PARENT",
        "BROKER_PORT",
    ],
)
def test_one_that_is_a_setting_or_nothing_like_one_is_not(variable):
    assert list(misspelt([variable])) == []
