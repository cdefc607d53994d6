"""The virtual board of the pages, as somebody would try it."""

import asyncio
import importlib.util
from pathlib import Path

from mappers.serialgpio.config import SerialgpioDevice
from tests.mappers.serialgpio.conftest import point, until

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "virtual_board.py"


async def test_the_example_is_a_board(new_driver, tmp_path):
    spec = importlib.util.spec_from_file_location("virtual_board_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path / "board"
    task = asyncio.create_task(module.main(str(path)))
    try:
        await until(path.exists)
        driver = new_driver(str(path))
        await driver.connect()
        readings = await driver.read(driver.plan(SerialgpioDevice(), [point("button", line=2)]))
        assert readings.values.keys() == {"button"}
        await driver.close()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
