"""The whole demo plant: its parts move, its documents name what the mappers know, its program ends as it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyfirmata2 import Arduino
from pyModbusTCP.client import ModbusClient

from edgehub.checking import checked
from edgehub.demo.hall import Panel, Press, PressCommands, Room, step_panel, step_press, step_room
from edgehub.demo.panel import PanelBoard
from edgehub.demo.places import Places
from mappers.sdk.registry import Registry
from twin.manifest.yaml import Source
from twin.supervisor import PARENT_ENV

PLACES = Places(modbus=15020, opcua=4840, serial="/dev/pts/7", ble=9001)


@pytest.mark.fast
@given(st.floats(), st.booleans(), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=50))
def test_whatever_it_is_told_the_press_stays_a_press(speed, run, steps_s):
    press = Press()
    for dt_s in steps_s:
        before, press = press, step_press(press, PressCommands(run, speed), dt_s)
        assert 0.0 <= press.speed <= 60.0
        assert press.strokes >= before.strokes
        assert 20.0 <= press.temperature_c <= 82.0


@pytest.mark.fast
def test_a_press_at_work_warms_and_dries_the_room():
    cold, warm = Room(), Room()
    press = Press()
    for _ in range(1200):
        press = step_press(press, PressCommands(speed=60.0), 0.1)
        cold, warm = step_room(cold, Press(temperature_c=21.0), 0.1), step_room(warm, press, 0.1)
    assert warm.temperature_c > cold.temperature_c + 3.0
    assert warm.humidity_pct < cold.humidity_pct


@pytest.mark.fast
def test_the_light_follows_the_lamp_and_the_door_opens_now_and_then():
    dark, lit, doors = Panel(), Panel(), set()
    for _ in range(300):
        dark, lit = step_panel(dark, lamp_on=False, dt_s=0.1), step_panel(lit, lamp_on=True, dt_s=0.1)
        doors.add(dark.door_open)
        assert 0.0 <= lit.dial <= 1.0
        assert 0.0 <= lit.light <= 1.0
    assert lit.light > dark.light + 0.4
    assert doors == {True, False}


@pytest.mark.fast
def test_places_come_back_from_the_line_that_says_them():
    assert Places.from_line(PLACES.line()) == PLACES
    for line in ("", "READY", "READY {}", "READY []", "BUSY {}", 'READY {"port": 1}'):
        with pytest.raises(ValueError):  # noqa: PT011  json's own text for some
            Places.from_line(line)


@pytest.mark.fast
@pytest.mark.parametrize("places", [PLACES, Places(modbus=1, opcua=2, serial="/dev/ttyS9")])
def test_the_documents_are_good_and_name_each_property_once(places):
    text = places.documents()
    assert "${" not in text
    view = checked([Source("plant.yaml", text.encode())], Registry.installed()).manifest
    specs = {one.name: one.spec for one in view.documents if one.ref.kind == "Device"}
    models = {one.name: one.spec for one in view.documents if one.ref.kind == "DeviceModel"}
    assert set(specs) == {"tank", "cooler", "press", "panel", *(["room"] if places.ble else [])}
    for name, spec in specs.items():
        model = models[spec.device_model_ref.name]
        assert sorted(one.name for one in spec.properties) == sorted(one.name for one in model.properties), name


async def test_a_firmata_client_that_shares_no_code_with_ours_lights_the_lamp_of_the_panel():
    async with PanelBoard() as panel:
        board = await asyncio.to_thread(Arduino, panel.path)
        try:
            await asyncio.to_thread(board.digital[13].write, 1)
            async with asyncio.timeout(5):
                while not panel.lamp_on:  # noqa: ASYNC110  # a board has no event
                    await asyncio.sleep(0.01)
            panel.step(0.3)
            assert panel.panel.light > 0.5
        finally:
            await asyncio.to_thread(board.exit)


async def test_the_program_says_its_places_moves_by_itself_and_ends_on_sigterm():
    environment = dict(os.environ) | {PARENT_ENV: str(os.getpid())}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgehub.demo.site", env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(60):
            places = Places.from_line((await child.stdout.readline()).decode())
            peer = ModbusClient(host="127.0.0.1", port=places.modbus, unit_id=1, timeout=5.0)
            first = await asyncio.to_thread(peer.read_input_registers, 0, 2)
            assert first
            while await asyncio.to_thread(peer.read_input_registers, 0, 2) == first:
                pass
            peer.close()
            assert places.ble
            assert os.path.exists(places.serial)  # noqa: PTH110  one look
            child.send_signal(signal.SIGTERM)
            assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
