"""`edgetwin account`, without a hub."""

import json
import os

from tests.typist import typed


def test_an_account_that_is_made_anew_says_what_counts_no_more(tmp_path):
    environment = {**os.environ, "EDGETWIN_STATE": str(tmp_path)}
    first = typed(("account", "create", "app", "--device", "plant/tank", "--json"), environment, 60)
    again = typed(("account", "create", "app", "--json"), environment, 60)
    assert (first.returncode, first.stderr) == (0, "")
    assert again.returncode == 0
    assert "app was there; its old password and its devices of before count no more" in again.stderr
    assert json.loads(first.stdout)["password"] != json.loads(again.stdout)["password"]
    listed = json.loads(typed(("account", "list", "--json"), environment, 60).stdout)["accounts"]
    assert listed == [{"name": "app", "devices": []}]
