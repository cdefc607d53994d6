"""The page over a real socket: what it lets in, what it shows, what it changes."""

import asyncio
from importlib.resources import files

import httpx
import pytest

from tests.twin.page.conftest import SECRET, Browser
from twin.model import Quality, Reason
from twin.page import static
from twin.page.rate import FREE
from twin.reading import PropertyMark

TWIN = "device/plant/tank"


async def report(tank, key, value):
    tank.engine.report(key, {"raw": value}, {}, at=value, by="m")
    await tank.engine.settled()


# -- who is let in -----------------------------------------------------------------------------------------------------


async def test_everything_but_the_files_needs_a_login(browser):
    for path in ("me", "live", "explain", "history", "log"):
        assert (await browser.get(f"/page/{path}", twin=TWIN, property="raw")).status_code == 401, path
    for path in ("set", "logout"):
        assert (await browser.post(f"/page/{path}")).status_code == 401, path


async def test_a_login_gives_a_cookie_that_no_script_reads_and_no_other_site_sends(browser):
    answer = await browser.login()
    assert answer.json() == {
        "user": "admin",
        "may_write": True,
        "csrf": browser.csrf,
        "place": "gw-1",
        "fleet": False,
    }
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert (await browser.get("/page/me")).status_code == 200


@pytest.mark.parametrize(("name", "secret"), [("admin", "wrong"), ("root", SECRET), ("", ""), ("admin", "")])
async def test_a_wrong_login_gives_nothing(browser, name, secret):
    answer = await browser.login(secret, name)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert (await browser.get("/page/me")).status_code == 401


async def test_logins_that_are_wrong_too_often_have_to_wait_even_with_the_right_password(browser):
    for _ in range(FREE):
        assert (await browser.login("wrong")).status_code == 401
    answer = await browser.login()
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 0
    assert "Wait" in answer.json()["remedy"]


async def test_another_password_ends_every_session_and_every_open_page(visitor, gatekeeper):
    async with visitor.live(kind="device") as hear:
        await hear("status")
        gatekeeper.secret = "another"
        await hear("logout")
    assert (await visitor.get("/page/me")).status_code == 401


async def test_logging_out_ends_the_session_also_for_who_has_kept_the_cookie(visitor, base):
    thief = Browser(base)
    thief.http.cookies = httpx.Cookies(visitor.http.cookies)
    assert (await thief.get("/page/me")).status_code == 200
    assert (await visitor.post("/page/logout")).status_code == 204
    assert (await thief.get("/page/me")).status_code == 401
    await thief.http.aclose()


@pytest.mark.parametrize("host", ["evil.example", "gw-1.evil.example", "127.0.0.1.evil.example:80", ""])
async def test_a_page_that_is_asked_under_a_strangers_name_does_not_answer(visitor, host):
    for path in ("/", "/page/me", "/page/live"):
        answer = await visitor.http.get(path, headers={"host": host})
        assert answer.status_code in (400, 421), path
        assert "csrf" not in answer.text


async def test_it_answers_under_its_own_names(visitor):
    for host in ("gw-1:1", "localhost", "10.1.2.3"):
        assert (await visitor.http.get("/page/me", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-csrf": ""},
        {"x-csrf": "0" * 64},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
async def test_another_site_changes_nothing_in_a_visitors_name(tank, key, visitor, headers):
    answer = await visitor.post("/page/set", {"twin": TWIN, "desired": {"valve": 7}}, **headers)
    assert answer.status_code in (400, 403)
    assert not tank.engine.document(key).desired


async def test_every_answer_forbids_what_is_not_the_pages_own(browser):
    for path in ("/", "/app.js", "/page/me", "/nothing"):
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"secret": 7}', b'{"secret": "x", "more": 1}', b"\xff\xfe", b'{"secret":NaN}']
)
async def test_rubbish_is_refused_with_words(browser, body):
    answer = await browser.http.post("/page/login", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["message"]


async def test_a_body_that_is_too_large_is_not_read(visitor):
    answer = await visitor.post("/page/set", {"twin": TWIN, "desired": {"note": "x" * 300_000}})
    assert answer.status_code == 413


# -- the files ---------------------------------------------------------------------------------------------------------


async def test_the_whole_page_is_under_100_kilobytes_and_needs_nothing_from_elsewhere(browser):
    size = 0
    for one in files(static).iterdir():
        if one.name.rpartition(".")[2] in ("html", "css", "js", "svg"):
            answer = await browser.get(f"/{one.name}")
            assert answer.status_code == 200
            size += len(answer.content)
            elsewhere = answer.text.replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in elsewhere, one.name
            assert "https://" not in elsewhere, one.name
    assert 20_000 < size < 100_000
    assert (await browser.get("/__init__.py")).status_code == 404
    assert (await browser.get("/../app.py")).status_code == 404


async def test_a_file_that_a_browser_has_is_not_sent_again(browser):
    answer = await browser.get("/app.js")
    again = await browser.http.get("/app.js", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


# -- what it shows -----------------------------------------------------------------------------------------------------


async def test_an_open_page_is_told_the_twins_and_each_change(tank, key, visitor):
    async with visitor.live(kind="device") as hear:
        listed = await hear("listing")
        assert listed["names"] == [TWIN]
        assert (listed["total"], listed["pages"], listed["trouble"]) == (1, 1, "")
        assert (await hear("twins"))["twins"][0]["twin"] == TWIN
        await report(tank, key, 41)
        said = await hear("twins")
        assert said["twins"][0]["reported"]["raw"]["value"] == 41
        assert (await hear("status"))["gateway"] == "gw-1"


async def test_a_page_is_told_only_of_the_twins_that_it_shows(tank, key, visitor):
    async with visitor.live(kind="device", text="nosuch") as hear:
        assert (await hear("listing"))["names"] == []
        await report(tank, key, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await hear("twins")


async def test_counts_follow_the_twins(tank, key, visitor):
    async with visitor.live(kind="device") as hear:
        assert (await hear("listing"))["bad"] == 0
        tank.engine.report(key, {}, {"raw": PropertyMark(Quality.BAD, Reason.TIMEOUT)}, at=5, by="m")
        assert (await hear("listing", until=lambda said: said["bad"]))["bad"] == 1
        tank.engine.remove(key)
        assert (await hear("listing", until=lambda said: not said["total"]))["names"] == []


async def test_two_pages_share_one_watch(tank, visitor):
    async with visitor.live(kind="device") as one, visitor.live() as other:
        await one("listing")
        await other("listing")
        assert len(tank.engine._watchers) == 1


async def test_a_page_that_is_closed_is_forgotten(page, visitor):
    async with visitor.live(kind="device") as hear:
        await hear("status")
        assert page.streams == 1
    for _ in range(200):
        if not page.streams:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(page.streams)


async def test_a_stream_with_a_wish_that_is_none_is_refused(visitor):
    assert (await visitor.get("/page/live", page="x")).status_code == 400
    assert (await visitor.get("/page/live", nosuch="x")).status_code == 400


# -- what it changes ---------------------------------------------------------------------------------------------------


async def test_a_value_is_set_in_the_name_of_the_page(tank, key, visitor):
    answer = await visitor.post("/page/set", {"twin": TWIN, "desired": {"valve": 40}})
    assert answer.status_code == 200
    assert tank.engine.document(key).desired["valve"].edge.value == 40
    said = (await visitor.get("/page/explain", twin=TWIN, property="valve")).json()
    assert said["slots"][0]["by"] == "web"
    assert (said["spec"]["maximum"], said["spec"]["access"], said["pending"]) == (100, "ReadWrite", True)
    await visitor.post("/page/set", {"twin": TWIN, "unset": ["valve"]})
    assert (await visitor.get("/page/explain", twin=TWIN, property="valve")).json()["slots"][0]["deleted"]


@pytest.mark.parametrize(
    ("desired", "status", "words"),
    [
        ({"valve": 400}, 422, "outside the limits 0 to 100"),
        ({"valve": "open"}, 422, "valve"),
        ({"raw": 1}, 422, "raw"),
        ({"nosuch": 1}, 422, "nosuch"),
        ({}, 400, "names no property"),
    ],
)
async def test_what_the_model_refuses_is_told_in_its_words_and_changes_nothing(
    tank, key, visitor, desired, status, words
):
    answer = await visitor.post("/page/set", {"twin": TWIN, "desired": desired})
    assert answer.status_code == status
    assert words in answer.json()["message"]
    assert answer.json()["remedy"]
    assert not tank.engine.document(key).desired


async def test_who_may_only_look_changes_nothing(tank, key, visitor, gatekeeper):
    gatekeeper.may_write = False
    answer = await visitor.post("/page/set", {"twin": TWIN, "desired": {"valve": 4}})
    assert answer.status_code == 403
    assert not tank.engine.document(key).desired


async def test_the_log_of_a_pod_is_asked_of_the_site_with_a_bound(visitor):
    answer = await visitor.get("/page/log", twin=TWIN, container="app", lines=999999)
    assert answer.text == f"{TWIN} app 1000"
    assert (await visitor.get("/page/log", twin="device/plant/none", lines=5)).status_code == 404
