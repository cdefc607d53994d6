"""A CloudStore in memory: the contract without SQL, quick enough for millions of simulated steps.

A transaction works on a copy of one gateway, which takes its place at the end; a power cut is a copy that does not.
"""

import asyncio
import contextlib
import copy

from cloudsync.store import CommandState, GatewayState, Position
from twin.document import Leaf, TwinDocument, live
from twin.errors import Refused, StoreError, UnknownTwin
from twin.exchange import Row, Run, digest
from twin.merge import join_slot
from twin.model import Section, Site, TwinSpec


class Life:
    """One life of a twin: its slots, and whether a document names it."""

    def __init__(self, spec, version=0, documented=True):
        self.spec = spec
        self.version = version
        self.documented = documented
        self.slots = {}  # (section, property, site) -> Slot

    def copy(self):
        made = Life(self.spec, self.version, self.documented)
        made.slots = dict(self.slots)
        return made

    def rows(self):
        key, uid = self.spec.key, self.spec.uid
        return [Row(key, uid, *place, slot) for place, slot in self.slots.items()]

    def document(self):
        desired, reported = {}, {}
        for (section, name, site), slot in self.slots.items():
            if section is Section.REPORTED:
                reported[name] = slot
            else:
                desired[name] = desired.get(name, Leaf()).with_slot(site, slot)
        return TwinDocument(self.spec, self.version, desired, live(reported))


class Shelf:
    """All of one gateway."""

    def __init__(self, name):
        self.state = GatewayState(name)
        self.lives = {}  # place -> Life
        self.documents = {}
        self.history = {}
        self.commands = {}
        self.notes = {}
        self.versions = {}

    def copy(self):
        made = Shelf(self.state.gateway)
        made.__dict__.update({name: dict(one) for name, one in self.__dict__.items() if name != "state"})
        made.state = copy.copy(self.state)
        return made


class MemoryStore:
    def __init__(self):
        self.shelves = {}
        self.locks = {}
        self.runs = []
        self.owners = {}  # key -> gateway
        self.audits = []
        self.turns = 0

    async def open(self):
        pass

    async def close(self):
        pass

    async def begin_run(self, run):
        if run not in self.runs:
            self.runs.append(run)

    async def image(self):
        return copy.deepcopy((self.shelves, self.runs, self.owners))

    async def restore(self, image):
        if image is None:
            self.shelves, self.runs, self.owners = {}, [], {}
        else:
            self.shelves, self.runs, self.owners = copy.deepcopy(image)

    @contextlib.asynccontextmanager
    async def transaction(self, gateway):
        async with self.locks.setdefault(gateway, asyncio.Lock()):
            shelves = self.shelves
            shelf = (shelves.get(gateway) or Shelf(gateway)).copy()
            have = {run.id for run in shelf.state.runs}
            shelf.state.runs += tuple(Run(run, shelf.state.tick + 1) for run in self.runs if run not in have)
            tx = Transaction(self, shelf)
            yield tx
            if self.shelves is not shelves:
                raise StoreError("another store is in its place")
            self.turns += 1
            self.shelves[gateway] = shelf
            self.owners.update(tx.owned)
            for key in tx.disowned:
                self.owners.pop(key, None)
            self.audits += tx.audited

    async def gateways(self, names=None):
        chosen = self.shelves if names is None else [name for name in names if name in self.shelves]
        return [copy.copy(self.shelves[name].state) for name in sorted(chosen)]

    async def gateway_of(self, key):
        if key not in self.owners:
            raise UnknownTwin(f"{key}")
        return self.owners[key]

    async def twin(self, key):
        shelf = self.shelves[await self.gateway_of(key)]
        return next(life.document() for (one, _), life in shelf.lives.items() if one == key and life.documented)

    async def command(self, gateway, command_id):
        return self.shelves[gateway].commands.get(command_id)

    async def positions(self):
        return {
            name: Position(one.state.cursor, one.state.tick, one.state.mended) for name, one in self.shelves.items()
        }

    async def heard(self, sessions, *, at):
        others = set()
        for gateway, session in sessions.items():
            shelf = self.shelves.get(gateway)
            if shelf is None or shelf.state.session != session:
                others.add(gateway)
                continue
            async with self.locks.setdefault(gateway, asyncio.Lock()):
                if self.shelves.get(gateway) is not None and self.shelves[gateway].state.session == session:
                    self.shelves[gateway].state.heard_at = at
                    self.shelves[gateway].state.online = True
        return frozenset(others)

    async def claim(self, worker, *, now, until, limit):
        held = []
        for name, shelf in sorted(self.shelves.items()):
            state = shelf.state
            if state.worker == worker or not now <= state.worker_until <= 2 * until - now:
                async with self.locks.setdefault(name, asyncio.Lock()):
                    state = self.shelves[name].state
                    state.worker, state.worker_until = worker, until
                held.append(name)
        return held[:limit]


class Transaction:
    def __init__(self, store, shelf):
        self._store = store
        self._shelf = shelf
        self._copied = set()
        self.owned = {}
        self.disowned = set()
        self.audited = []

    @property
    def state(self):
        return self._shelf.state

    def _owner(self, key):
        if key in self.disowned:
            return None
        return self.owned.get(key) or self._store.owners.get(key)

    def _life(self, place):
        life = self._shelf.lives.get(place)
        if life is not None and place not in self._copied:
            life = self._shelf.lives[place] = life.copy()
            self._copied.add(place)
        return life

    def _known(self, key):
        for place, life in self._shelf.lives.items():
            if place[0] == key and life.documented:
                return self._life(place)
        return None

    async def join(self, rows):
        changed = {}
        for row in rows:
            place = (row.key, row.uid)
            life = self._life(place)
            if life is None:
                life = Life(TwinSpec(row.key, row.uid, gateway=self.state.gateway), documented=False)
                if life.spec.open and self._owner(row.key) is None:
                    life.documented = True
                    self.owned[row.key] = self.state.gateway
                self._shelf.lives[place] = life
                self._copied.add(place)
            if row.section is Section.REPORTED and row.site is not Site.EDGE:
                continue
            at = (row.section, row.property, row.site)
            last = life.slots.get(at)
            slot = join_slot(last, row.slot)
            if slot != last:
                life.slots[at] = slot
                changed[place] = life
        for life in changed.values():
            life.version += 1
        return frozenset(key for (key, _), life in changed.items() if life.documented)

    async def document(self, key):
        life = self._known(key)
        return None if life is None else life.document()

    def _all(self):
        return [row for life in self._shelf.lives.values() for row in life.rows()]

    async def rows_after(self, site, tick, limit):
        found = [row for row in self._all() if row.site is site and row.slot.tick > tick]
        return sorted(found, key=lambda row: row.slot.tick)[:limit]

    async def own_rows(self, first, last):
        found = [row for row in self._all() if row.site is Site.CLOUD and first <= row.slot.tick <= last]
        return sorted(found, key=lambda row: row.slot.tick)

    async def rows(self, places):
        return [row for place in places if place in self._shelf.lives for row in self._shelf.lives[place].rows()]

    async def digests(self, *, after, upto, limit, waiting):
        found = []
        for place, life in sorted(self._shelf.lives.items()):
            if (after is not None and place <= after) or (upto is not None and place > upto):
                continue
            if life.slots and (waiting or life.documented):
                found.append((*place, digest(life.rows())))
        return found[:limit]

    async def define(self, *specs):
        for spec in specs:
            owner = self._owner(spec.key)
            if owner not in (None, self.state.gateway):
                raise Refused(f"{spec.key} is gateway {owner}'s")
        for spec in specs:
            await self._define(spec)

    async def _define(self, spec):
        known = self._known(spec.key)
        if known is not None and known.spec.uid != spec.uid:
            await self.remove(spec.key)
            self.disowned.discard(spec.key)
            known = None
        life = known or self._life((spec.key, spec.uid))
        if life is None:
            life = self._shelf.lives[spec.key, spec.uid] = Life(spec)
            self._copied.add((spec.key, spec.uid))
        if not life.documented or known is None:
            life.version = max(life.version, self._shelf.versions.get(spec.key, -1) + 1)
        life.spec, life.documented = spec, True
        life.version += 1
        self.state.mended += 1
        self.owned[spec.key] = self.state.gateway
        self.disowned.discard(spec.key)

    async def remove(self, key):
        life = self._known(key)
        if life is not None:
            self._shelf.versions[key] = max(self._shelf.versions.get(key, 0), life.version)
            del self._shelf.lives[key, life.spec.uid]
            self.state.mended += 1
            self.disowned.add(key)
            self.owned.pop(key, None)

    async def documents(self):
        return dict(self._shelf.documents)

    async def document_states(self):
        return {ref: row.state for ref, row in self._shelf.documents.items()}

    async def put_document(self, row):
        await self.put_documents([row])

    async def put_documents(self, rows):
        self._shelf.documents.update({row.state.ref: row for row in rows})

    async def add_history(self, series):
        for one in series:
            kept = dict(self._shelf.history.get(one[:3], {}))
            kept.update({(reading.at, reading.tick): reading for reading in one.readings})
            self._shelf.history[one[:3]] = kept

    async def put_command(self, state: CommandState):
        self._shelf.commands[state.command.id] = state

    async def commands(self):
        return [one for one in self._shelf.commands.values() if one.done is None]

    async def audit(self, entry):
        self.audited.append(entry)

    async def notes(self, owner):
        return {name: text for (of, name), text in self._shelf.notes.items() if of == owner}

    async def note(self, owner, name, text):
        self._shelf.notes[owner, name] = text
