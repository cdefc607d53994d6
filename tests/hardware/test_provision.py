"""One file makes a machine a gateway, the same one however often it is asked; with a receipt that tells no lies."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hardware.debian.files import package_files
from hardware.errors import InvalidProvisioning
from hardware.provision.apply import apply, without_secrets
from hardware.provision.file import USED, Provisioning, read_file
from hardware.provision.machine import ThisMachine
from hardware.provision.receipt import State
from hardware.provision.render import MachineFile, network_files
from twin.errors import EdgetwinError, InvalidMessage, LinkError
from twin.wire.enrolment import JoinToken

pytestmark = pytest.mark.fast

TOKEN = JoinToken(url="https://cloud.example:8443", host="cloud.example", port=8883, ca="a" * 64, secret="s" * 30)
DEVICES = """apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: boiler}
spec: {properties: [{name: temperature, type: FLOAT}]}
"""
WHOLE = {
    "version": 1,
    "gateway": {"name": "hall-7"},
    "network": [
        {"name": "eth0", "addresses": ["192.0.2.10/24"], "gateway": "192.0.2.1", "dns": ["192.0.2.1"]},
        {"name": "wlan0", "wifi": {"ssid": 'a"b\\c', "password": "secret-word", "country": "DE"}},
        {"mac": "02:00:00:00:00:01"},
    ],
    "time": {"servers": ["ntp.example"], "zone": "Europe/Berlin"},
    "settings": {"log": {"level": "debug"}},
    "cloud": {"token": TOKEN.text()},
    "devices": DEVICES,
}


class FakeMachine:
    """A machine in memory, whose parts can be told to fail."""

    def __init__(self) -> None:
        self.files: dict[PurePosixPath, MachineFile] = {}
        self.ran: list[tuple[str, ...]] = []
        self.writes = 0
        self.doubt = ""
        self.cloud = ""
        self.full = False
        self.no_cloud: EdgetwinError | None = None
        self.documents: set[str] = set()

    def read(self, path: PurePosixPath) -> str | None:
        return self.files[path].text if path in self.files else None

    def write(self, file: MachineFile) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.writes += 1
        self.files[file.path] = file

    def names(self, folder: PurePosixPath):
        return sorted(path for path in self.files if path.parent == folder)

    def remove(self, path: PurePosixPath) -> None:
        del self.files[path]

    def run(self, *command: str) -> str:
        self.ran.append(command)
        return ""

    def doubt_of_clock(self) -> str:
        return self.doubt

    def joined(self) -> str:
        return self.cloud

    async def join(self, token: JoinToken, gateway: str) -> None:
        if self.no_cloud is not None:
            raise self.no_cloud
        assert token == TOKEN
        self.cloud = gateway

    async def apply(self, documents: str) -> bool:
        new = documents not in self.documents
        self.documents.add(documents)
        return new


def said(**changes: object) -> Provisioning:
    return Provisioning.model_validate({**WHOLE, **changes})


def states(steps) -> dict[str, str]:
    return {one.step: one.state.value for one in steps}


async def test_everything_is_applied_once_and_a_second_run_changes_nothing() -> None:
    machine = FakeMachine()
    first = await apply(said(), machine)
    assert set(states(first).values()) == {"applied"}
    held, writes, ran = dict(machine.files), machine.writes, list(machine.ran)
    second = await apply(said(), machine)
    assert set(states(second).values()) == {"unchanged"}
    assert (machine.files, machine.writes, machine.ran) == (held, writes, ran)


async def test_a_wireless_network_has_its_supplicant_started_now_and_at_each_start() -> None:
    machine = FakeMachine()
    await apply(said(), machine)
    unit = "wpa_supplicant@wlan0.service"
    asked = [words for words in machine.ran if words[1] in ("daemon-reload", "enable") or unit in words]
    assert asked == [
        *(("systemctl", "daemon-reload"), ("systemctl", "enable", unit)),
        ("systemctl", "restart", "--no-block", unit),
    ]
    again = machine.files[PurePosixPath(f"/etc/systemd/system/{unit}.d/edgetwin.conf")].text.splitlines()
    late = {"StartLimitIntervalSec=0", "Restart=always", "WantedBy=sys-subsystem-net-devices-%i.device"}
    assert late <= set(again), "a radio that comes late is never used"


async def test_what_a_file_does_not_say_is_left_as_it_is() -> None:
    machine = FakeMachine()
    steps = await apply(Provisioning.model_validate({"version": 1, "gateway": {"name": "hall-7"}}), machine)
    assert states(steps) == {
        "identity": "applied",
        "network": "not_said",
        "time": "not_said",
        "settings": "applied",
        "devices": "not_said",
        "cloud": "not_said",
    }


async def test_a_clock_in_doubt_keeps_only_the_cloud_waiting() -> None:
    machine = FakeMachine()
    machine.doubt = "the clock says 1970-01-01, this program was made 2026-01-01"
    steps = await apply(said(), machine)
    assert states(steps) == {**dict.fromkeys(states(steps), "applied"), "cloud": "waiting"}
    assert machine.cloud == ""
    machine.doubt = ""
    assert states(await apply(said(), machine))["cloud"] == "applied"


@pytest.mark.parametrize(
    ("error", "state"),
    [(LinkError("no answer from the cloud"), "waiting"), (InvalidMessage("another CA"), "failed")],
)
async def test_a_cloud_that_does_not_answer_is_asked_again_and_one_that_refuses_is_told(error, state: str) -> None:
    machine = FakeMachine()
    machine.no_cloud = error
    steps = await apply(said(), machine)
    assert states(steps)["cloud"] == state
    assert error.message in steps[-1].detail


async def test_a_gateway_of_another_cloud_or_name_is_not_taken_over() -> None:
    machine = FakeMachine()
    machine.cloud = "hall-8"
    steps = await apply(said(), machine)
    assert states(steps)["cloud"] == "failed"
    assert "as hall-8 already" in steps[-1].detail


async def test_a_settings_file_of_somebody_is_left_alone() -> None:
    machine = FakeMachine()
    path = PurePosixPath("/etc/edgetwin/edgetwin.yaml")
    machine.files[path] = MachineFile(path, "gateway: {name: mine}\n")
    steps = await apply(said(), machine)
    assert states(steps)["settings"] == "failed"
    assert machine.files[path].text == "gateway: {name: mine}\n"


async def test_settings_that_the_package_brought_say_nothing_and_are_replaced() -> None:
    machine = FakeMachine()
    (brought,) = [one for one in package_files("log:\n  level: info\n") if one.path.endswith("edgetwin.yaml")]
    path = PurePosixPath("/", brought.path)
    for mine, state in ((brought.text, "applied"), (f"{brought.text}log: {{level: info}}\n", "failed")):
        machine.files[path] = MachineFile(path, mine)
        assert states(await apply(said(), machine))["settings"] == state


async def test_interfaces_that_are_said_no_more_go_and_those_of_others_stay() -> None:
    machine = FakeMachine()
    other = PurePosixPath("/etc/systemd/network/20-mine.network")
    machine.files[other] = MachineFile(other, "x")
    await apply(said(), machine)
    await apply(said(network=[{"name": "eth0"}]), machine)
    left = sorted(path.name for path in machine.names(PurePosixPath("/etc/systemd/network")))
    assert left == ["10-edgetwin-1.network", "20-mine.network"]


async def test_a_full_disk_fails_its_steps_and_not_the_others() -> None:
    machine = FakeMachine()
    machine.full = True
    steps = await apply(said(), machine)
    assert states(steps) == {**dict.fromkeys(states(steps), "failed"), "devices": "applied", "cloud": "applied"}
    assert "No space left" in steps[0].detail
    machine.full = False
    assert set(states(await apply(said(), machine)).values()) == {"applied", "unchanged"}


async def test_secrets_leave_the_file_when_they_have_done_their_work_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "edgetwin-provision.yaml"
    path.write_text("# ours\n" + yaml.safe_dump(WHOLE))
    read = read_file(path)
    machine = FakeMachine()
    machine.doubt = "1970"
    waiting = without_secrets(read.content, read.said, await apply(read.said, machine))
    assert TOKEN.text().encode() in waiting
    assert b"secret-word" not in waiting
    machine.doubt = ""
    done = without_secrets(read.content, read.said, await apply(read.said, machine))
    assert TOKEN.text().encode() not in done
    assert done.startswith(b"# ours\n")
    path.write_bytes(done)
    again = read_file(path)
    wpa = PurePosixPath("/etc/wpa_supplicant/wpa_supplicant-wlan0.conf")
    kept = machine.files[wpa].text
    assert set(states(await apply(again.said, machine)).values()) == {"unchanged"}
    assert machine.files[wpa].text == kept
    machine.cloud = ""
    assert "the token was used" in (await apply(again.said, machine))[-1].detail


def test_network_files_are_what_networkd_and_wpa_supplicant_read() -> None:
    made = {one.path.name: one for one in network_files(said())}
    assert made["10-edgetwin-1.network"].text.splitlines()[1:] == [
        *("[Match]", "Name=eth0", "", "[Network]", "Address=192.0.2.10/24", "Gateway=192.0.2.1", "DNS=192.0.2.1")
    ]
    assert "MACAddress=02:00:00:00:00:01" in made["10-edgetwin-3.network"].text
    wpa = made["wpa_supplicant-wlan0.conf"]
    assert wpa.secret
    assert "ssid=6122625c63" in wpa.text
    assert 'psk="secret-word"' in wpa.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 2}, "version"),
        ({"colour": "red"}, "colour"),
        ({"gateway": {"name": "Hall 7"}}, "is not a name"),
        ({"gateway": {}}, "gateway.name"),
        ({"network": [{}]}, "by one of them"),
        ({"network": [{"name": "eth0", "addresses": ["192.0.2.1"]}]}, "length of its prefix"),
        ({"network": [{"name": "eth0", "gateway": "192.0.2.1"}]}, "goes with addresses"),
        ({"network": [{"name": "eth0\nName=x"}]}, "network.0.name"),
        ({"network": [{"name": "w", "wifi": {"ssid": "a\nb", "country": "DE"}}]}, "more than one line"),
        ({"network": [{"name": "w", "wifi": {"ssid": "a", "password": "short", "country": "DE"}}]}, "8 to 63"),
        ({"time": {"servers": []}}, "time.servers"),
        ({"time": {"servers": ["a b"]}}, "no name or address"),
        ({"time": {"servers": ["ntp"], "zone": "../../etc/passwd"}}, "time.zone"),
        ({"cloud": {"token": "x"}}, "this is no join token"),
        ({"cloud": {"token": TOKEN.model_copy(update={"gateway": "hall-8"}).text()}}, "is for the gateway hall-8"),
        ({"settings": {"gateway": {"name": "x"}}}, "leave it out"),
        ({"settings": {"no_such": 1}}, "settings.no_such"),
        ({"settings": {"log": {"level": "loud"}}}, "settings.log.level"),
        ({"devices": "kind: Nothing"}, "devices"),
        ({"devices": DEVICES.replace("FLOAT", "COLOUR")}, "COLOUR"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_without_its_secrets(tmp_path, changes, told: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, **changes}))
    with pytest.raises(InvalidProvisioning) as error:
        read_file(path)
    assert told in str(error.value)
    assert TOKEN.text() not in str(error.value)
    assert "secret-word" not in str(error.value)


def test_all_problems_are_told_at_once(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, "gateway": {"name": "!"}, "time": {"servers": []}, "x": 1}))
    with pytest.raises(InvalidProvisioning) as error:
        read_file(path)
    assert len(error.value.message.splitlines()) == 3


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_a_crash(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("garbage") / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidProvisioning):
        read_file(path)


def test_a_token_that_was_used_is_a_good_file(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, "cloud": {"token": USED}}))
    assert read_file(path).said.cloud.used


def test_files_of_a_real_machine_are_whole_and_private(tmp_path) -> None:
    machine = ThisMachine(tmp_path, 0.0)
    for secret, mode in ((True, 0o600), (False, 0o644)):
        path = PurePosixPath(f"/etc/deep/er/{secret}")
        machine.write(MachineFile(path, "text\n", secret))
        assert machine.read(path) == "text\n"
        assert (tmp_path / f"etc/deep/er/{secret}").stat().st_mode & 0o777 == mode
    assert [one.name for one in machine.names(PurePosixPath("/etc/deep/er"))] == ["False", "True"]
    machine.remove(PurePosixPath("/etc/deep/er/True"))
    assert machine.read(PurePosixPath("/etc/deep/er/True")) is None
    assert list(machine.names(PurePosixPath("/no/such"))) == []


def test_a_clock_before_the_program_was_made_is_not_believed(tmp_path) -> None:
    assert "this program was made" in ThisMachine(tmp_path, 4e9).doubt_of_clock()
    assert "no time server has been reached" in ThisMachine(tmp_path, 0.0).doubt_of_clock()
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    (tmp_path / "run/systemd/timesync/synchronized").touch()
    assert ThisMachine(tmp_path, 0.0).doubt_of_clock() == ""


def test_a_receipt_knows_whether_anything_is_left_to_do(tmp_path) -> None:
    from hardware.provision.receipt import Receipt, StepResult

    for state in State:
        one = Receipt(file="f", sha256="0", release="1", at="t", steps=(StepResult(step="cloud", state=state),))
        assert one.done is (state not in (State.WAITING, State.FAILED))
        one.write(tmp_path / "receipt.json")
        assert Receipt.model_validate_json((tmp_path / "receipt.json").read_bytes()) == one
