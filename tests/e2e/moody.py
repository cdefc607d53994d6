"""A mapper as a package of others, installed for one gateway alone, that misbehaves when a file beside it says so."""

from pathlib import Path

MODULE = """
import gc, os, sys, time
from pathlib import Path
from mappers.sdk import ConnectionConfig, DeviceConfig, Mapper, PointConfig, Readings
from twin.link.mqtt import MqttLink

MOOD = Path(__file__).with_suffix(".mood")

def mood():
    return MOOD.read_text()

if mood() == "import":
    raise ValueError("the planets are not right")
if mood() == "import-hangs" and "inquiry" in " ".join(sys.orig_argv):
    time.sleep(1000)

class Connection(ConnectionConfig):
    port: int = 1

class Driver:
    eaten = []

    def __init__(self, config):
        self.count = 0
        self.held = {}

    async def connect(self): ...
    async def close(self): ...

    def plan(self, device, points):
        return [point.name for point in points]

    async def read(self, plan):
        self.count += 1
        now = mood()
        if now == "exit":
            os._exit(3)
        if now == "eat":
            self.eaten.append(bytearray(8 * 1024 * 1024))
        if now == "hang":
            time.sleep(1000)
        if now.startswith("publish "):
            for link in [one for one in gc.get_objects() if type(one).__name__ == "FencedLink"]:
                link.publish(now.split()[1], now.split()[2].encode())
        if now.startswith("sneak "):
            link = next(one for one in gc.get_objects() if isinstance(one, MqttLink))
            link.publish(now.split()[1], now.split()[2].encode(), qos=1)
            MOOD.write_text("sneaked")
        return Readings({name: self.held.get(name, self.count) for name in plan})

    async def write(self, device, point, value):
        self.held[point.name] = value

MAPPER = Mapper("NAME", Connection, DeviceConfig, PointConfig, Driver, aliases={"NAME-bus": ""})
"""

DOCUMENTS = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: NAME}
spec:
  properties:
    - {name: count, type: INT, visitors: {configData: {scale: 1}}}
    - {name: wish, type: INT, accessMode: ReadWrite, visitors: {configData: {scale: 1}}}
---
apiVersion: edgetwin.dev/v1
kind: Connection
metadata: {name: NAME}
spec: {mapper: NAME, config: {port: 7}}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: NAME-1}
spec:
  deviceModelRef: {name: NAME}
  connection: NAME
  properties:
    - {name: count, collectCycle: 100ms}
    - {name: wish, collectCycle: 100ms}
---
apiVersion: edgetwin.dev/v1
kind: Mapper
metadata: {name: NAME}
spec: {memory: 96Mi, cpu: 1, watchdog: 2s}
"""


class Plugin:
    """One such package in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.account = f"mapper.{name}"
        self.twin = f"device/default/{name}-1"
        self.folder = folder / name
        self.documents = DOCUMENTS.replace("NAME", name)
        meta = self.folder / f"{name}_mapper-1.0.dist-info"
        meta.mkdir(parents=True)
        (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-mapper\nVersion: 1.0\n")
        (meta / "entry_points.txt").write_text(f"[edgetwin.mappers]\n{name} = {name}_module:MAPPER\n")
        self.mood("well")
        (self.folder / f"{name}_module.py").write_text(MODULE.replace("NAME", name))

    def mood(self, text: str) -> None:
        (self.folder / f"{self.name}_module.mood").write_text(text)
