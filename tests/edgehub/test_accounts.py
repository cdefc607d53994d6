"""Who may say what to the gateway's own broker."""

import pytest

from edgehub.accounts import DialectNames, page_account, program_account
from twin.broker_accounts import TopicAccess, acl_text
from twin.model import TwinKey

pytestmark = pytest.mark.fast


def test_the_dashboard_looks_and_sets_and_applies_no_documents():
    assert acl_text([page_account("web", "x")]).splitlines() == [
        "user web",
        "topic write et/1/api/get",
        "topic write et/1/api/watch",
        "topic write et/1/api/set",
        "topic write et/1/api/explain",
        "topic write et/1/api/history",
        "topic write et/1/api/status",
        "topic write et/1/api/mesh",
        "topic read et/1/reply/web/#",
    ]


def test_a_program_reports_on_its_own_devices_only():
    pump, tank = (TwinKey.parse(name) for name in ("device/plant/pump", "device/plant/tank"))
    rules = program_account("app", "hash", [pump], DialectNames()).rules
    writes = {rule.topic_filter for rule in rules if rule.access is not TopicAccess.READ}
    assert f"et/1/report/app/{pump}" in writes
    assert not any(str(tank) in rule.topic_filter or "plant/tank" in rule.topic_filter for rule in rules)
