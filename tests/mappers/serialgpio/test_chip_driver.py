"""Lines of a GPIO chip: a virtual one behind the driver; the real library's types in front of calls that do nothing.

Untested on a chip.
"""

import errno
from datetime import timedelta
from types import SimpleNamespace

import gpiod
import pytest

from mappers.sdk import Access, MapperError, NotConnected, Reason, ValueType, WriteRefused
from mappers.serialgpio.chip import GpiodChip, LineEvent, LineFacts, LineUse, open_chip
from mappers.serialgpio.chip_driver import ChipDriver
from mappers.serialgpio.config import SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.point import Bias
from mappers.serialgpio.virtual_chip import VirtualChip
from tests.mappers.serialgpio.conftest import Ear, point, until

DEVICE = SerialgpioDevice()
CONFIG = SerialgpioConnection.model_validate({"backend": "gpiochip", "chip": "gpiochip0", "aliveMs": 200})
BUTTON = point("button", line="BUTTON", bias="pullUp", activeLow=True, debounceMs=20)
TURNS = point("turns", ValueType.INT, line=1, edge="rising")
RELAY = point("relay", line="RELAY", direction="output", activeLow=True)


@pytest.fixture
def chip() -> VirtualChip:
    ticks = iter(range(1000, 9999))
    return VirtualChip(["BUTTON", "TURNS", "RELAY", "SENSE-in", ""], lambda: next(ticks))


@pytest.fixture
async def driver(chip):
    driver = ChipDriver(CONFIG, lambda path: chip)
    await driver.connect()
    yield driver
    await driver.close()


async def test_lines_are_read(chip, driver):
    plan = driver.plan(DEVICE, [BUTTON, TURNS, RELAY])
    assert (await driver.read(plan)).values == {"button": False, "turns": 0, "relay": True}
    chip.wire(0, False)
    for level in (True, False, True):
        chip.wire(1, level)
    assert (await driver.read(plan)).values == {"button": True, "turns": 2, "relay": True}
    assert not chip.is_output(2)  # reading changed nothing


async def test_an_output_is_driven_by_a_write(chip, driver):
    await driver.write(DEVICE, RELAY, False)
    assert (chip.is_output(2), chip.level(2)) == (True, True)
    assert (await driver.read(driver.plan(DEVICE, [RELAY]))).values == {"relay": False}
    await driver.write(DEVICE, RELAY, True)
    assert chip.level(2) is False


async def test_edges_are_told_with_the_kernels_times(chip, driver):
    ear = Ear()
    agreed = await driver.subscribe(driver.plan(DEVICE, [BUTTON, TURNS, RELAY]), 10, ear)
    assert (agreed.refused, ear.values) == ({"relay"}, {"button": False, "turns": 0})
    chip.wire(0, False)
    await until(lambda: ear.values["button"] is True)
    assert ear.told[-1].times_ms == {"button": 1000}
    for level in (True, False, True):
        chip.wire(1, level)
    await until(lambda: ear.values["turns"] == 2)
    assert [one.times_ms["turns"] for one in ear.told[2:]] == [1001, 1003]
    await until(lambda: ear.alive_count > 1)


async def test_edges_that_the_kernel_dropped_are_counted(chip, driver):
    plan = driver.plan(DEVICE, [TURNS, point("all", ValueType.INT, line=1, edge="both"), point("level", line="TURNS")])
    await driver.read(plan)
    for at in range(101):
        chip.wire(1, at % 2 == 0)
    assert (await driver.read(plan)).values == {"turns": 51, "all": 101, "level": True}


async def test_counts_go_on_over_a_chip_that_went_and_came(chip, driver):
    plan = driver.plan(DEVICE, [TURNS])
    await driver.read(plan)
    chip.wire(1, True)
    assert (await driver.read(plan)).values == {"turns": 1}
    await driver.close()
    chip.wire(1, False)
    chip.wire(1, True)
    await driver.connect()
    assert (await driver.read(plan)).values == {"turns": 1}
    assert chip.closed == 1


async def test_a_chip_that_is_gone_is_told(chip, driver):
    ear = Ear()
    plan = driver.plan(DEVICE, [BUTTON])
    await driver.subscribe(plan, 10, ear)
    chip.pull()
    await until(lambda: ear.error is not None)
    assert "the chip is gone: " in str(ear.error)
    with pytest.raises(NotConnected, match="/dev/gpiochip0 cannot be opened"):
        await driver.connect()
    with pytest.raises(NotConnected, match="is closed"):
        await driver.read(plan)


async def test_a_chip_that_is_gone_ends_reads_and_writes(chip, driver):
    plan = driver.plan(DEVICE, [RELAY])
    await driver.read(plan)
    chip.gone = True
    with pytest.raises(NotConnected, match="the chip is gone"):
        await driver.read(plan)
    with pytest.raises(NotConnected, match="the chip is gone"):
        await driver.write(DEVICE, RELAY, True)
    with pytest.raises(NotConnected, match="the chip is gone"):
        await driver.read(driver.plan(DEVICE, [BUTTON]))


@pytest.mark.parametrize(
    ("one", "reason", "text"),
    [
        (point("x", line=9), Reason.ILLEGAL_ADDRESS, "x: the chip has no line '9', only 0 to 4 and names"),
        (point("x", line="LAMP"), Reason.ILLEGAL_ADDRESS, "x: the chip has no line 'LAMP'"),
        (point("x", line="SENSE-in"), Reason.DEVICE_FAILURE, "it is used by spi0"),
        (point("x", ValueType.DOUBLE, line=1, kind="analog"), Reason.CONFIG_ERROR, "x: a GPIO chip has digital lines"),
        (point("x", ValueType.INT, match="x"), Reason.CONFIG_ERROR, "x: a GPIO chip has lines, no messages"),
        (point("x", line=1, bias="pullDown"), Reason.CONFIG_ERROR, "x: line 1 is used in another way by another "),
    ],
)
async def test_a_line_that_cannot_be_had_is_a_fault_of_its_point(chip, one, reason, text):
    chip.occupy(3, "spi0")
    driver = ChipDriver(CONFIG, lambda path: chip)
    await driver.connect()
    readings = await driver.read(driver.plan(DEVICE, [TURNS, one]))
    assert readings.values == {"turns": 0}
    assert readings.faults["x"].reason is reason
    assert text in readings.faults["x"].text
    await driver.close()


@pytest.mark.parametrize(
    ("one", "value", "text"),
    [
        (BUTTON, True, "button: line BUTTON is an input"),
        (RELAY, 1, "relay: 1 is neither true nor false"),
        (point("x", line=9, direction="output"), True, "x: the chip has no line '9'"),
        (point("x", line="SENSE-in", direction="output"), True, "x: line 3 cannot be driven: "),
        (point("x", ValueType.DOUBLE, line=1, kind="pwm"), 0.5, "x: a GPIO chip has digital lines, not pwm"),
    ],
)
async def test_what_cannot_be_driven_is_refused(driver, one, value, text):
    with pytest.raises(WriteRefused, match=text):
        await driver.write(DEVICE, one, value)


async def test_outputs_take_no_subscription(driver):
    with pytest.raises(MapperError, match="read back"):
        await driver.subscribe(driver.plan(DEVICE, [RELAY]), 10, Ear())


async def test_nothing_is_told_after_unsubscribe(chip, driver):
    ear = Ear()
    plan = driver.plan(DEVICE, [TURNS])
    await driver.subscribe(plan, 10, ear)
    await driver.unsubscribe(plan)
    chip.wire(1, True)
    assert (await driver.read(plan)).values == {"turns": 1}
    assert ear.values == {"turns": 0}


async def test_a_scan_shows_the_free_lines_as_they_are(chip):
    chip.occupy(3, "spi0")
    chip.occupy(4, "", output=True)
    driver = ChipDriver(CONFIG, lambda path: chip)
    await driver.connect()
    (found,) = [one async for one in driver.discover(SerialgpioScan(), lambda _: None)]
    await driver.close()
    assert (found.name, found.identity) == ("gpiochip0", {"chip": "/dev/gpiochip0"})
    assert [(one.name, one.visitor, one.access) for one in found.points] == [
        ("line0", {"line": "BUTTON"}, Access.READ_ONLY),
        ("line1", {"line": "TURNS"}, Access.READ_ONLY),
        ("line2", {"line": "RELAY"}, Access.READ_ONLY),
        ("line4", {"line": "4", "direction": "output"}, Access.READ_WRITE),
    ]


# --- gpiod: its own types, and calls that only note what they were given ---


class Request:
    fd = 7

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.waiting = [
            gpiod.EdgeEvent(1, 1_700_000_000_123_456_789, 17, 3, 2),
            gpiod.EdgeEvent(2, 1_700_000_000_124_000_000, 17, 4, 3),
        ]

    def get_value(self, line):
        return gpiod.line.Value.ACTIVE

    def set_value(self, line, value):
        self.calls.append((line, value))

    def reconfigure_lines(self, config):
        self.calls.append(config)

    def wait_edge_events(self, timeout):
        assert timeout == timedelta()
        return bool(self.waiting)

    def read_edge_events(self):
        found, self.waiting = self.waiting, []
        return found

    def release(self):
        self.calls.append(("released",))


class Chip:
    def __init__(self) -> None:
        self.request = Request()
        self.requested: list[tuple] = []

    def get_info(self):
        return SimpleNamespace(num_lines=2)

    def get_line_info(self, offset):
        output = gpiod.line.Direction.OUTPUT if offset else gpiod.line.Direction.INPUT
        return SimpleNamespace(name="GPIO17" if offset else "", direction=output, used=not offset, consumer="")

    def request_lines(self, config, consumer):
        self.requested.append((config, consumer))
        return self.request

    def close(self):
        self.requested.append(("closed",))


def test_gpiod_is_asked_for_an_input():
    chip = Chip()
    GpiodChip(chip, gpiod).request(17, LineUse(bias=Bias.PULL_UP, debounce_us=20_000))
    ((config, consumer),) = chip.requested
    line = gpiod.line
    assert consumer == "edgetwin"
    assert config == {
        17: gpiod.LineSettings(
            direction=line.Direction.INPUT,
            edge_detection=line.Edge.BOTH,
            bias=line.Bias.PULL_UP,
            debounce_period=timedelta(milliseconds=20),
            event_clock=line.Clock.REALTIME,
        )
    }


def test_gpiod_is_asked_to_drive_without_a_moment_of_another_level():
    chip = Chip()
    taken = GpiodChip(chip, gpiod).request(17, LineUse(output=True))
    assert chip.requested[0][0][17].direction is gpiod.line.Direction.AS_IS
    assert taken.level() is True
    taken.drive(True)
    taken.drive(False)
    taken.release()
    wanted = gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT, output_value=gpiod.line.Value.ACTIVE)
    assert chip.request.calls == [{17: wanted}, (17, gpiod.line.Value.INACTIVE), ("released",)]


def test_the_events_of_gpiod():
    taken = GpiodChip(Chip(), gpiod).request(17, LineUse())
    assert taken.fd == 7
    assert taken.events() == [LineEvent(True, 1_700_000_000_123, 2), LineEvent(False, 1_700_000_000_124, 3)]
    assert taken.events() == []


def test_the_lines_of_gpiod():
    chip = GpiodChip(Chip(), gpiod)
    assert chip.lines() == [LineFacts(0, user="the kernel"), LineFacts(1, "GPIO17", output=True)]
    chip.close()


def test_a_chip_that_is_not_there_cannot_be_opened(tmp_path):
    with pytest.raises(OSError) as raised:  # noqa: PT011  # the number says which
        open_chip(str(tmp_path / "gpiochip9"))
    assert raised.value.errno == errno.ENOENT


async def test_the_driver_says_so(tmp_path):
    driver = ChipDriver(SerialgpioConnection(backend="gpiochip", chip=str(tmp_path / "gpiochip9")))
    with pytest.raises(NotConnected, match="cannot be opened"):
        await driver.connect()
