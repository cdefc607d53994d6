"""The pure parts of the page: hosts, passwords, logins that are wrong, which twins are shown, which readings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from twin.model import Quality
from twin.page import listing as listing_module
from twin.page.chart import thinned
from twin.page.guard import is_same_origin
from twin.page.hosts import host_of, is_own
from twin.page.listing import Wish, listing, standing
from twin.page.passwords import drawn, hashed, is_password
from twin.page.rate import FORGET_S, FREE, FREE_OF_ALL, LONGEST_S, MAX_ADDRESSES, Attempts
from twin.page.sessions import LIFE_MS, MAX_SESSIONS, Sessions, csrf, is_csrf
from twin.wire.api import LeafBody, ReadingBody, TwinBody

pytestmark = pytest.mark.fast


# -- hosts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("gw-1:8730", "gw-1"),
        ("GW-1.Plant.Example.", "gw-1.plant.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8730", "::1"),
        ("[::1]", "::1"),
        ("::1]", ""),
        ("[::1]evil", ""),
        ("gw:80:80", ""),
        ("gw:x", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_header(header, host):
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("header", "own"),
    [
        ("127.0.0.1:8730", True),
        ("192.168.1.9", True),
        ("[fe80::1]:1", True),
        ("localhost:8730", True),
        ("gw-1", True),
        ("GW-1:8730", True),
        ("evil.example", False),
        ("gw-1.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_a_page_answers_to_addresses_and_to_its_own_names(header, own):
    assert is_own(header, ["Gw-1"]) is own


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin", "origin": "http://gw:1"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "https://gw:1"}, False),
        ({"origin": "null"}, False),
    ],
)
def test_a_change_comes_from_the_page_itself(headers, same):
    assert is_same_origin("http", "gw:1", Headers(headers)) is same


# -- passwords and sessions --------------------------------------------------------------------------------------------


def test_a_password_is_known_again_and_no_other():
    kept = hashed("correct horse")
    assert "correct" not in kept
    assert is_password(kept, "correct horse")
    assert not is_password(kept, "correct Horse")
    assert hashed("correct horse") != kept


@pytest.mark.parametrize(
    "kept", ["", "x", "$scrypt$14$8$1$!$!", "$md5$14$8$1$AAAA$AAAA", "$scrypt$60$8$1$AAAA$AAAA", "é"]
)
def test_what_is_no_hash_of_ours_lets_nobody_in(kept):
    assert not is_password(kept, "")
    assert not is_password(kept, "x")


def test_passwords_that_are_drawn_differ():
    assert len({drawn() for _ in range(100)}) == 100


class Now:
    ms = 1000

    def __call__(self):
        return self.ms


def test_a_session_is_known_by_its_token_until_it_ends(tmp_path):
    now = Now()
    sessions = Sessions(now, tmp_path / "sessions.json")
    token = sessions.begin("holder")
    assert sessions.holder(token) == "holder"
    assert sessions.holder(token + "x") is None
    assert sessions.holder("") is None
    assert token not in (tmp_path / "sessions.json").read_text()
    assert (tmp_path / "sessions.json").stat().st_mode & 0o777 == 0o600
    again = Sessions(now, tmp_path / "sessions.json")
    assert again.holder(token) == "holder"
    now.ms += LIFE_MS
    assert again.holder(token) is None


def test_logging_out_ends_a_session_for_good(tmp_path):
    sessions = Sessions(Now(), tmp_path / "sessions.json")
    token = sessions.begin("holder")
    sessions.end(token)
    assert sessions.holder(token) is None
    assert Sessions(Now(), tmp_path / "sessions.json").holder(token) is None


def test_the_oldest_session_goes_when_there_are_too_many():
    sessions = Sessions(Now())
    tokens = [sessions.begin("holder") for _ in range(MAX_SESSIONS + 1)]
    assert sessions.holder(tokens[0]) is None
    assert all(sessions.holder(token) for token in tokens[1:])


@pytest.mark.parametrize("content", [b"", b"{", b'{"sessions": 7}', b"\xff"])
def test_a_file_of_sessions_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / "sessions.json").write_bytes(content)
    sessions = Sessions(Now(), tmp_path / "sessions.json")
    assert sessions.holder(sessions.begin("holder")) == "holder"


def test_the_token_of_a_page_belongs_to_its_session():
    assert is_csrf("one", csrf("one"))
    assert not is_csrf("two", csrf("one"))
    assert not is_csrf("one", "é")


class Clock:
    s = 50.0

    def __call__(self):
        return self.s


def test_wrong_logins_make_an_address_wait_longer_and_longer():
    clock = Clock()
    attempts = Attempts(clock)
    waits = []
    for _ in range(FREE + 10):
        clock.s += attempts.wait_s("a")
        assert attempts.wait_s("a") == 0
        attempts.failed("a")
        waits.append(attempts.wait_s("a"))
    assert waits[: FREE - 1] == [0] * (FREE - 1)
    assert waits[FREE - 1 :] == sorted(waits[FREE - 1 :])
    assert waits[FREE - 1] == 1
    assert waits[-1] == LONGEST_S
    clock.s += FORGET_S
    assert attempts.wait_s("a") == 0


def test_one_address_does_not_make_another_wait_but_many_do():
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(FREE):
        attempts.failed("a")
    assert attempts.wait_s("b") == 0
    for number in range(FREE_OF_ALL):
        attempts.failed(f"x{number}")
    assert attempts.wait_s("b") > 0


def test_a_right_login_forgives_its_address():
    attempts = Attempts(Clock())
    for _ in range(FREE):
        attempts.failed("a")
    attempts.succeeded("a")
    assert attempts.wait_s("a") == 0


def test_addresses_do_not_fill_the_memory():
    attempts = Attempts(Clock())
    for number in range(MAX_ADDRESSES + 10):
        attempts.failed(str(number))
    assert len(attempts._failures) <= MAX_ADDRESSES + 1


# -- listing -----------------------------------------------------------------------------------------------------------


def twin(name, quality="good", delta=(), **more):
    reported = {"level": LeafBody(value=1, quality=Quality(quality))} if quality else {}
    return TwinBody(twin=name, version=1, reported=reported, delta=dict.fromkeys(delta, 1), **more)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (twin("device/a/b"), "good"),
        (twin("device/a/b", delta=["level"]), "pending"),
        (twin("device/a/b", "uncertain", delta=["level"]), "uncertain"),
        (twin("device/a/b", "bad"), "bad"),
        (twin("device/a/b", ""), "silent"),
    ],
)
def test_how_a_twin_stands(made, word):
    assert standing(made) == word


FLEET = {
    one.twin: one
    for one in (
        twin("device/plant/tank", model="tank", labels={"area": "hall-2"}),
        twin("device/plant/cooler", "bad", model="cooler"),
        twin("device/shop/door", delta=["lock"]),
        twin("pod/plant/web"),
    )
}


@pytest.mark.parametrize(
    ("wish", "names"),
    [
        ({}, ["device/plant/cooler", "device/plant/tank", "device/shop/door", "pod/plant/web"]),
        ({"kind": "device"}, ["device/plant/cooler", "device/plant/tank", "device/shop/door"]),
        ({"text": "HALL-2"}, ["device/plant/tank"]),
        ({"text": "area=hall-2 tank"}, ["device/plant/tank"]),
        ({"text": "tank cooler"}, []),
        ({"text": "level plant", "kind": "device"}, ["device/plant/cooler", "device/plant/tank"]),
        ({"standing": "bad"}, ["device/plant/cooler"]),
        ({"standing": "pending"}, ["device/shop/door"]),
        ({"twin": "pod/plant/web", "text": "no"}, ["pod/plant/web"]),
        ({"twin": "pod/plant/none"}, []),
    ],
)
def test_the_twins_that_fit_a_wish(wish, names):
    assert list(listing(FLEET, Wish(**wish)).names) == names


def test_counts_are_of_the_kind_and_not_of_the_search():
    found = listing(FLEET, Wish(kind="device", text="tank"))
    assert (found.matching, found.total, found.pending, found.bad) == (1, 3, 1, 1)


@given(count=st.integers(0, 100), page=st.integers(0, 10))
def test_every_twin_is_on_one_page_and_a_page_past_the_last_is_the_last(count, page):
    fleet = {f"device/a/{number:03}": twin(f"device/a/{number:03}") for number in range(count)}
    found = listing(fleet, Wish(page=page))
    pages = [listing(fleet, Wish(page=number)).names for number in range(found.pages)]
    assert [name for names in pages for name in names] == sorted(fleet)
    assert all(len(names) <= listing_module.PAGE for names in pages)
    assert found.page == min(page, found.pages - 1)


# -- charts ------------------------------------------------------------------------------------------------------------

readings = st.lists(
    st.tuples(
        st.integers(0, 10**6), st.one_of(st.integers(-1000, 1000), st.booleans(), st.none()), st.sampled_from(Quality)
    ),
    max_size=300,
).map(
    lambda found: [ReadingBody(at=at, value=value, quality=q) for at, value, q in sorted(found, key=lambda one: one[0])]
)


@given(made=readings, most=st.integers(4, 100))
def test_a_chart_has_few_readings_and_keeps_the_peaks_and_both_ends(made, most):
    few = thinned(made, most)
    assert len(few) <= most + 4
    numbers = [one.at for one in few]
    assert numbers == sorted(numbers)
    assert all(one in made for one in few)
    if made:
        assert (few[0], few[-1]) == (made[0], made[-1])

    def heights(found):
        return [one.value for one in found if type(one.value) is int and one.quality is Quality.GOOD]

    if heights(made):
        assert (min(heights(few)), max(heights(few))) == (min(heights(made)), max(heights(made)))
