"""What the tests of the store speak of."""

from twin.document import Slot
from twin.exchange import Row
from twin.model import Kind, PropertySpec, Section, Site, TwinKey, TwinSpec, ValueType

TANK = TwinKey(Kind.DEVICE, "plant", "tank")
PUMP = TwinKey(Kind.DEVICE, "plant", "pump")


def spec(key=TANK, uid="u1", **more):
    properties = {name: PropertySpec(name, ValueType.DOUBLE) for name in ("level", "valve")}
    return TwinSpec(key, uid, **{"model": "tank", "gateway": "gw-1", "properties": properties, **more})


def reported(value, tick, *, key=TANK, uid="u1", name="level", **more):
    return Row(key, uid, Section.REPORTED, name, Site.EDGE, Slot(value, tick, **{"by": "mapper", "at": 1000, **more}))


def desired(value, tick, *, site=Site.CLOUD, key=TANK, uid="u1", name="valve", **more):
    return Row(key, uid, Section.DESIRED, name, site, Slot(value, tick, **{"by": "ann", "at": 1000, **more}))


TABLES = (
    "run", "gateway", "twin", "spec", "label", "shape", "shape_property", "ended", "reported", "desired", "document",
    "note", "command", "audit", "series", "gap",
    "workload", "placement", "lease", "bundle", "rollout",
)  # fmt: skip


async def emptied(store):
    """Delete all that a store has; quicker than a new database."""
    async with store._database.writing() as connection:
        for table in TABLES:
            await connection.fetch(f"DELETE FROM {table}")
        for period in await store._periods.existing(connection):
            await store._periods.drop(connection, period)


async def failing(store, change):
    """A transaction that raises ZeroDivisionError after the change."""
    async with store.transaction("gw-1") as tx:
        await change(tx)
        1 / 0  # noqa: B018  # anything that raises
