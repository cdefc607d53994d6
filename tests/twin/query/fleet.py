"""Five twins: what tests say of queries is said of them."""

from twin.document import DELETED, Slot
from twin.model import Access, ConflictPolicy, Kind, PropertySpec, Quality, Reason, Site, TwinKey, TwinSpec
from twin.store import Batch, TwinRow


class Fleet:
    """A batch that is filled by hand."""

    def __init__(self):
        self.batch = Batch(tick=1)

    def twin(self, name, *, kind=Kind.DEVICE, namespace="plant", policies=None, **more):
        number = len(self.batch.twins) + 1
        specs = {one: PropertySpec(one, conflict=policy) for one, policy in (policies or {}).items()}
        spec = TwinSpec(TwinKey(kind, namespace, name), f"u{number}", properties=specs, **more)
        self.batch.twins[number] = TwinRow(number, spec, 1)
        self.batch.versions[number] = 1
        return number

    def reported(self, twin, **values):
        for name, value in values.items():
            slot = value if isinstance(value, Slot) else Slot(value, 1, 0, "mapper", 1000)
            self.batch.reported[twin, name.replace("_", "-")] = slot

    def desired(self, twin, name, edge=None, cloud=None):
        for site, slot in ((Site.EDGE, edge), (Site.CLOUD, cloud)):
            if slot is not None:
                self.batch.desired[twin, name, site] = slot


def five_twins():
    """The fleet."""
    made = Fleet()
    tank = made.twin("tank", model="tank", gateway="gw-1", labels=(("area", "hall-2"), ("line", "a")))
    made.reported(tank, level=81.5, pump=True, mode="auto", note={"a": 1}, fan_speed=700)
    made.desired(tank, "valve", Slot(40, 5, 0, "cli", 5000))
    made.batch.versions[tank] = 7
    pump = made.twin("pump", model="pump", gateway="gw-1", labels=(("area", "hall-2"),))
    made.reported(pump, level=Slot(80, 1, 0, "mapper", 2000, Quality.BAD, Reason.TIMEOUT), pump=False, mode="Auto")
    cooler = made.twin("cooler", namespace="cold", model="tank", labels=(("area", "hall-1"),))
    made.reported(cooler, level="81.5", pump=None, mode="10%")
    made.desired(cooler, "valve", Slot(DELETED, 5, 0, "cli", 5000))
    valve = made.twin("valve", model="valve", policies={"valve": ConflictPolicy.LATEST})
    made.reported(valve, level=None)
    made.desired(valve, "valve", Slot(1, 5, 0, "cli", 5000), Slot(2, 6, 5, "cloud", 4000))
    made.twin("gw-1", kind=Kind.GATEWAY, namespace="default", labels=(("area", "81.5"),))
    return made


def measured_twins():
    """Two tanks in percent, a boiler in bar, one device without a model."""
    batch = Batch(tick=1)
    for number, (name, unit) in enumerate([("t1", "%"), ("t2", "%"), ("boiler", "bar"), ("odd", "")], start=1):
        properties = {"level": PropertySpec("level", unit=unit, access=Access.READ_WRITE)}
        spec = TwinSpec(TwinKey(Kind.DEVICE, "plant", name), name, properties=properties)
        batch.twins[number], batch.versions[number] = TwinRow(number, spec, 1), 1
        batch.reported[number, "level"] = Slot(number, 1)
        batch.desired[number, "level", Site.EDGE] = Slot(number + 10, 2)
    return batch
