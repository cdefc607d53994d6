"""Lists of revoked gateways: which one counts."""

import pytest

from cloudsync.identity.ca import Authority
from edgehub.revocations import is_news
from twin.errors import InvalidMessage

pytestmark = pytest.mark.fast
NOW_MS = 1_790_000_000_000
CLOUD = Authority.create("gateways", NOW_MS)
CA = CLOUD.certificate.encode()


def listed(number, by=CLOUD):
    return by.revocations([], now=NOW_MS, number=number).encode()


def test_the_first_list_is_news_and_so_is_each_newer_one():
    assert is_news(listed(3), b"", CA)
    assert is_news(listed(4), listed(3), CA)


def test_the_same_and_older_lists_are_none():
    assert not is_news(listed(3), listed(3), CA)
    assert not is_news(listed(2), listed(3), CA)


def test_a_list_of_somebody_else_is_refused():
    with pytest.raises(InvalidMessage, match="not signed by the authority"):
        is_news(listed(9, Authority.create("gateways", NOW_MS)), b"", CA)


@pytest.mark.parametrize("text", [b"", b"no list", listed(3)[:-80], CA])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(InvalidMessage):
        is_news(text, listed(3), CA)


def test_what_is_broken_here_is_replaced():
    assert is_news(listed(3), b"torn", CA)
