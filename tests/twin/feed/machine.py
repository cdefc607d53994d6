"""All that can happen to two sites, as rules in any order; after a resync they agree and no edit is missing."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.twin.feed.world import NOW_US, TEN_YEARS_US, World
from twin.model import Site

SITES = st.sampled_from(list(Site))
NAMES = st.sampled_from(["a", "b", "c"])
SHAPES = st.sampled_from(["scalar", "object", "delete"])
CLOCKS = st.sampled_from([0, NOW_US - 3_600_000_000, NOW_US, NOW_US + 1_000_000, NOW_US + TEN_YEARS_US])


class FeedMachine(RuleBasedStateMachine):
    """With digests off: they heal, and so hide, faults of the feed."""

    digests = False

    def __init__(self):
        super().__init__()
        self.world = World(self.digests)
        self.backups = {site: [] for site in Site}

    def teardown(self):
        try:
            self.world.resync()
        finally:
            self.world.close()

    @rule(site=SITES, name=NAMES, shape=SHAPES, wait=st.booleans())
    def edit(self, site, name, shape, wait):
        self.world.edit(site, name, shape, wait)

    @rule(wait=st.booleans())
    def report(self, wait):
        self.world.report(wait)

    @rule(wait=st.booleans())
    def unreport(self, wait):
        self.world.unreport(wait)

    @rule(site=SITES, us=CLOCKS)
    def set_clock(self, site, us):
        self.world.sides[site].clock.us = us

    @precondition(lambda self: self.world.up)
    @rule()
    def cut(self):
        self.world.up = False

    @rule()
    def line_restored(self):
        self.world.up = True
        self.world.connect()

    @rule(sender=SITES, index=st.integers(0, 3), keep=st.booleans())
    def deliver(self, sender, index, keep):
        self.world.deliver(sender, index, keep)

    @rule(count=st.integers(1, 12))
    def deliver_in_order(self, count):
        for _ in range(count):
            for sender in Site:
                self.world.deliver(sender)

    @rule(sender=SITES, index=st.integers(0, 3))
    def drop(self, sender, index):
        self.world.drop(sender, index)

    @rule(site=SITES, us=st.none() | CLOCKS)
    def crash(self, site, us):
        side = self.world.sides[site]
        if us is not None:
            side.clock.us = us
        side.start()

    @rule(site=SITES, writes=st.integers(0, 3), when=st.sampled_from(["before", "after"]))
    def crash_soon(self, site, writes, when):
        self.world.sides[site].store.fuse = (writes, when)

    @rule(site=SITES)
    def back_up(self, site):
        self.backups[site].append(self.world.sides[site].backup())

    @rule(site=SITES, us=CLOCKS)
    def restore_a_backup(self, site, us):
        if self.backups[site]:
            self._restore(site, self.backups[site][0], us)

    @rule(site=SITES, us=CLOCKS)
    def wipe(self, site, us):
        self._restore(site, None, us)

    def _restore(self, site, image, us):
        # A restored site has begun another history; images of the one given up are not put back later.
        self.backups[site].clear()
        self.world.sides[site].clock.us = us
        self.world.restore(site, image)

    @rule(site=SITES)
    def recreate(self, site):
        self.world.recreate(site)

    @rule(site=SITES)
    def document_arrives(self, site):
        self.world.document_arrives(site)

    @rule()
    def resync(self):
        self.world.resync()

    @rule(site=SITES, name=NAMES, us=CLOCKS, shape=st.sampled_from(["scalar", "object"]))
    def a_causally_later_write_wins(self, site, name, us, shape):
        self.world.resync()
        for side in self.world.sides.values():
            side.store.fuse = None
        self.world.sides[site].clock.us = us
        number = self.world.edit(site, name, shape)
        self.world.resync()
        assert self.world.stands(name) == number


class HealingMachine(FeedMachine):
    """The same with digests at the end of each resync."""

    digests = True
