"""The dashboard of the demo in a real browser: what people see, what they do, and what they may not."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from tests.cloudsync.process import EDGETWIN
from tests.e2e.browser import Visitor, chromium, needs_chromium
from tests.typist import typed

pytestmark = [needs_chromium, pytest.mark.timeout(180), pytest.mark.xdist_group("dashboard")]

START_S = 90.0
VIEWS = ("overview", "devices", "mappers", "pods", "mesh", "alarms", "twin/device/plant/tank?p=valve")


class Demo:
    """`edgetwin demo` in a process of its own."""

    def __init__(self, folder):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")}
        self.folder = folder / "demo"
        self.environment = {**kept, "EDGETWIN_STATE": str(self.folder), "PATH": kept["PATH"] + ":/usr/sbin"}
        self.log = folder / "demo.log"

    def __enter__(self):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*EDGETWIN, "demo"], env=self.environment, stdout=log, stderr=log)
        found = self.until(lambda: re.search(r"dashboard is at (\S+), user admin, password (\S+)", self.said()))
        self.base, self.password = found.groups()
        self.until(lambda: "has joined it" in self.said() and "level = " in self.said())
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, self.said()[-2000:]

    def said(self):
        return self.log.read_text(errors="replace")

    def until(self, condition):
        ends_s = time.monotonic() + START_S
        while not (found := condition()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < ends_s, self.said()
            time.sleep(0.05)
        return found

    def run(self, *words):
        return typed(words, self.environment, 60)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with Demo(tmp_path_factory.mktemp("dashboard")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def login(browser, demo):
    """Who is logged in, as the browser keeps it."""
    first = Visitor(browser, demo.base)
    first.login(demo.password)
    first.page.wait_for_selector("nav.places")
    return first.context.storage_state()


@pytest.fixture
def visitor(browser, demo, login):
    made = Visitor(browser, demo.base, storage_state=login)
    yield made
    assert made.complaints == []
    assert [url for url in made.asked if not url.startswith(demo.base)] == []
    made.context.close()


def test_a_wrong_password_is_told_and_the_right_one_lets_in(browser, demo):
    stranger = Visitor(browser, demo.base)
    stranger.login("not the password")
    stranger.page.wait_for_selector("[role=alert]:has-text('not the login')")
    stranger.shot("login")
    stranger.page.fill("#secret", demo.password)
    stranger.page.click("button:has-text('Log in')")
    stranger.page.wait_for_selector("nav.places")
    assert stranger.complaints == []
    stranger.page.click("button:has-text('Log out')")
    stranger.page.wait_for_selector(".login")
    stranger.context.close()


def test_values_move_without_a_reload(visitor):
    visitor.go("devices")
    row = "[data-twin='device/plant/tank'] [data-property='level'] .value"
    visitor.page.wait_for_selector(row)
    before = visitor.text(row)
    visitor.page.evaluate("window.here = true")
    visitor.see("([row, before]) => document.querySelector(row).textContent !== before", [row, before])
    assert visitor.page.evaluate("window.here")


def test_a_search_shows_what_fits_and_can_be_linked_to(visitor):
    visitor.go("devices")
    visitor.page.keyboard.press("/")
    visitor.page.keyboard.type("press")
    visitor.see("() => document.querySelectorAll('.card.twin').length === 1")
    assert visitor.text(".card.twin h2") == "press"
    assert "text=press" in visitor.page.url
    visitor.page.reload()
    visitor.page.wait_for_selector(".card.twin")
    visitor.see("() => document.querySelectorAll('.card.twin').length === 1")


def test_a_value_that_is_set_reaches_the_device_and_the_delta_clears(visitor, demo):
    visitor.go("twin/device/plant/tank?p=valve")
    visitor.page.fill("#desired", "62")
    visitor.page.click(".set button.primary")
    visitor.see("() => document.querySelector('.detail .big').textContent.startsWith('62')")
    visitor.see("() => !document.querySelector('[data-property=valve] [data-pending]')")
    visitor.page.wait_for_selector(".why >> text=The device has followed.")
    assert "web" in visitor.text(".why li")
    visitor.shot("twin", full=True)
    body = json.loads(demo.run("get", "plant/tank", "--json").stdout)
    (twin,) = body.get("twins", [body])
    assert twin["reported"]["valve"]["value"] == pytest.approx(62)
    assert not twin.get("delta")


def test_a_value_that_the_model_refuses_is_answered_in_the_models_words(visitor):
    visitor.go("twin/device/plant/tank?p=valve")
    visitor.page.fill("#desired", "400")
    visitor.page.click(".set button.primary")
    visitor.page.wait_for_selector("[aria-invalid=true]")
    assert "400 is outside the limits 0 to 100" in visitor.text(".set [role=alert]")
    visitor.shot("refused")
    visitor.page.fill("#desired", "wide")
    visitor.page.click(".set button.primary")
    visitor.page.wait_for_selector(".set [role=alert]:has-text('wide')")


POD = """
apiVersion: v1
kind: Pod
metadata: {name: talker, namespace: plant}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: host
      command: [sh, -c, "echo the first word; while sleep 1; do echo another word; done"]
"""


def test_a_pod_shows_what_it_says_and_goes_on_to(visitor, demo, tmp_path):
    (tmp_path / "pod.yaml").write_text(POD)
    applied = demo.run("apply", "-f", str(tmp_path / "pod.yaml"))
    assert applied.returncode == 0, applied.stderr
    visitor.go("pods")
    visitor.page.click("tr:has-text('talker') .actions button")
    visitor.page.wait_for_selector(".log:has-text('the first word')")
    visitor.see("() => document.querySelector('.log').textContent.split('another word').length > 3")
    visitor.shot("pods", full=True)
    assert demo.run("delete", "-f", str(tmp_path / "pod.yaml")).returncode == 0
    visitor.see("() => ![...document.querySelectorAll('tbody th')].some((one) => one.textContent.includes('talker'))")


RULE = """
apiVersion: edgetwin.dev/v1
kind: AlarmRule
metadata: {name: filled, namespace: plant}
spec: {twin: {name: tank}, property: level, operator: ">", threshold: -1, summary: there is something in the tank}
"""


@pytest.fixture(scope="module")
def watched(demo, tmp_path_factory):
    """The demo with an alarm that fires as long as it runs."""
    path = tmp_path_factory.mktemp("rule") / "rule.yaml"
    path.write_text(RULE)
    assert demo.run("apply", "-f", str(path)).returncode == 0
    return demo


def test_an_alarm_is_shown_and_acknowledged(visitor, watched):
    visitor.go("alarms")
    row = "tr:has-text('filled.tank')"
    visitor.page.wait_for_selector(f"{row} .badge:has-text('firing')")
    assert "there is something in the tank" in visitor.text(row)
    visitor.shot("alarms", full=True)
    visitor.page.fill(f"{row} input", "it is meant to be full")
    visitor.page.click(f"{row} button")
    visitor.page.wait_for_selector(f"{row} .badge:has-text('acknowledged')")
    visitor.page.wait_for_selector(f"{row}:has-text('web: it is meant to be full')")
    listed = json.loads(watched.run("alarms", "list", "--state", "acknowledged", "--json").stdout)["alarms"]
    assert [one["note"] for one in listed] == ["it is meant to be full"]


def test_mappers_and_the_mesh_are_shown(visitor):
    visitor.go("mappers")
    visitor.page.wait_for_selector("th:has-text('plant/press')")
    visitor.page.wait_for_selector(".badge:has-text('connected')")
    visitor.shot("mappers", full=True)
    visitor.go("mesh")
    visitor.page.wait_for_selector("svg.graph .node")
    visitor.page.wait_for_selector("th:has-text('plant/board')")
    visitor.shot("mesh", full=True)


def test_a_cut_line_is_told_with_its_time_and_what_is_unsent_and_so_is_its_return(visitor, demo):
    visitor.go("overview")
    visitor.page.wait_for_selector(".pill:has-text('Live')")
    try:
        assert demo.run("demo", "cut").returncode == 0
        visitor.see(
            "() => [...document.querySelectorAll('.pill')].some((one) =>"
            " /(Offline|Connecting) since .*, [1-9]\\d* unsent/.test(one.textContent))"
        )
        assert re.search(r"(offline|connecting) since \d", visitor.text("section[aria-labelledby=sync]"))
        visitor.shot("offline", full=True)
    finally:
        restored = demo.run("demo", "restore")
    assert restored.returncode == 0, restored.stdout
    visitor.see("() => [...document.querySelectorAll('.pill')].some((one) => one.textContent === 'Live')")
    visitor.see("() => /Unsent0/.test(document.querySelector('.tiles').textContent)")
    visitor.shot("overview", full=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_using_it(browser, demo, login, watched, scheme):
    axe_module = pytest.importorskip("axe_playwright_python.sync_playwright")
    visitor = Visitor(browser, demo.base, storage_state=login, color_scheme=scheme, bypass_csp=True)
    found = []
    for view in VIEWS:
        visitor.go(view)
        visitor.page.wait_for_selector("h1")
        visitor.see("() => document.querySelector('.twin, tbody tr, .big, .node')")
        if view == "devices":
            visitor.page.wait_for_selector(".card.twin")
            visitor.shot(f"devices-{scheme}")
        results = axe_module.Axe().run(visitor.page)
        found += [
            f"{view}: {one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
            for one in results.response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
    visitor.context.close()
    assert found == []


def test_it_fits_a_phone(browser, demo, login, watched):
    phone = Visitor(
        browser,
        demo.base,
        storage_state=login,
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
    )
    for view in VIEWS:
        phone.go(view)
        phone.page.wait_for_selector("h1")
        phone.see("() => document.querySelector('.twin, tbody tr, .big, .node')")
        wide = phone.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, (view, wide)
        phone.shot(f"phone-{view.partition('/')[0]}")
    phone.context.close()


def test_everything_is_reached_with_the_keyboard(visitor):
    visitor.go("overview")
    visitor.page.wait_for_selector("nav.places")
    visitor.page.keyboard.press("Tab")
    assert visitor.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(12):
        visitor.page.keyboard.press("Tab")
        if visitor.page.evaluate("document.activeElement.textContent") == "Devices":
            break
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector(".card.twin")
    visitor.page.focus(".card.twin h2 a")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector(".detail h2")


def test_the_page_says_when_it_has_lost_the_gateway_and_comes_back(browser, demo, login):
    visitor = Visitor(browser, demo.base, storage_state=login)
    visitor.go("overview")
    visitor.page.wait_for_selector(".pill:has-text('Live')")
    visitor.context.set_offline(True)
    dashboard = next(
        one for one in json.loads(demo.run("status", "--json").stdout)["children"] if one["name"] == "dashboard"
    )
    os.kill(dashboard["pid"], signal.SIGKILL)
    visitor.see("() => !document.querySelector('.lost').hidden")
    visitor.context.set_offline(False)
    visitor.see("() => document.querySelector('.lost').hidden")
    assert visitor.page.locator("nav.places").count() == 1  # who was logged in is so still
    visitor.context.close()


# -- the page of the fleet, by the demo's own cloud ------------------------------------------------------------------


@pytest.fixture
def fleet(browser, demo):
    """An admin of the demo's cloud, logged in."""
    credentials = json.loads((demo.folder / "cloud" / "admin.json").read_text())
    made = Visitor(browser, credentials["url"], ignore_https_errors=True)
    made.login(credentials["api_token"], user="whoever")
    made.page.wait_for_selector("nav.places")
    yield made
    assert made.complaints == []
    made.context.close()


def test_a_fleet_shows_its_gateways_and_the_twins_of_each_live(fleet):
    fleet.page.wait_for_selector("section[aria-labelledby=gateways] .badge:has-text('Online')")
    fleet.shot("fleet", full=True)
    fleet.page.click("section[aria-labelledby=gateways] tbody a")
    row = "[data-twin='device/plant/tank'] [data-property='level'] .value"
    fleet.page.wait_for_selector(row)
    before = fleet.text(row)
    fleet.see("([row, before]) => document.querySelector(row).textContent !== before", [row, before])


def test_a_value_that_is_set_in_the_cloud_reaches_the_device(fleet):
    fleet.page.wait_for_selector("section[aria-labelledby=gateways] tbody a")
    fleet.go("twin/device/plant/cooler?p=fan")
    fleet.page.fill("#desired", "73")
    fleet.page.click(".set button.primary")
    fleet.see("() => document.querySelector('.detail .big').textContent.startsWith('73')")
    fleet.page.wait_for_selector(".why >> text=at the cloud wants 73")
    fleet.page.fill("#desired", "730")
    fleet.page.click(".set button.primary")
    fleet.page.wait_for_selector(".set [role=alert]:has-text('outside the limits 0 to 100')")


def test_an_alarm_of_a_gateway_is_seen_and_acknowledged_in_the_page_of_the_fleet(fleet, demo, tmp_path):
    (tmp_path / "rule.yaml").write_text(RULE.replace("name: filled", "name: brimming"))
    assert demo.run("apply", "-f", str(tmp_path / "rule.yaml")).returncode == 0
    fleet.go("alarms")
    row = "tr:has-text('brimming.tank')"
    fleet.page.wait_for_selector(f"{row} .badge:has-text('firing')")
    gateway = json.loads(demo.run("status", "--json").stdout)["gateway"]
    assert gateway in fleet.text(f"{row} th .block")
    assert "there is something in the tank" in fleet.text(row)
    fleet.shot("fleet-alarms", full=True)
    fleet.page.fill(f"{row} input", "seen from afar")
    fleet.page.click(f"{row} button")
    fleet.page.wait_for_selector(f"{row} .badge:has-text('acknowledged')")  # which the gateway has said
    fleet.page.wait_for_selector(f"{row}:has-text('admin: seen from afar')")
    listed = json.loads(demo.run("alarms", "list", "--state", "acknowledged", "--json").stdout)["alarms"]
    assert [one["note"] for one in listed if "brimming" in one["alarm"]] == ["seen from afar"]


def test_nobody_gets_into_a_fleet_with_a_token_that_is_none(browser, demo):
    credentials = json.loads((demo.folder / "cloud" / "admin.json").read_text())
    stranger = Visitor(browser, credentials["url"], ignore_https_errors=True)
    stranger.login("no-token")
    stranger.page.wait_for_selector("[role=alert]:has-text('not the login')")
    stranger.context.close()
