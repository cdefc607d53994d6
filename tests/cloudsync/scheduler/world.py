"""A small world for the scheduler, and what becomes of it when a plan is carried out."""

import itertools
from dataclasses import replace

from cloudsync.scheduler.model import Deployment, Gateway, Needs, Placed, Pod, PodName, World
from cloudsync.scheduler.plan import plan
from cloudsync.scheduler.replicas import Ids
from twin.manifest.workloads import CutOff

KEEP = CutOff()
MOVE = CutOff(moves=True, after_ms=60_000)


def ids():
    numbers = itertools.count(1)
    return Ids(lambda: f"p{next(numbers)}", lambda: f"u{next(numbers)}")


def pod(name="web", *, uid="", needs=None, rule=KEEP, **more):
    return Pod(PodName("plant", name), uid or f"uid-{name}", needs or Needs(), rule, **more)


def deployment(replicas, *, uid="d1", name="shop", made="t1", needs=None, rule=KEEP, **more):
    template = Pod(PodName("plant", name), "", needs or Needs(), rule, owner=uid, made=made, grace_s=10)
    return Deployment(PodName("plant", name), uid, replicas, template, **more)


def gateways(*names, **more):
    return {name: Gateway(name, **more) for name in names}


def world(*pods, deployments=(), gateways=None, placed=()):
    return World({one.name: one for one in pods}, {one.uid: one for one in deployments}, gateways or {}, tuple(placed))


class Site:
    """A world that goes on: a clock, plans that are carried out, gateways that do as they are told."""

    def __init__(self, world, now=1_000_000):
        self.world = world
        self.now = now
        self.ids = ids()

    def look(self):
        return plan(self.world, self.now, self.ids)

    def carry_out(self):
        """One round; what it was."""
        made = self.look()
        self.world = after(self.world, made)
        return made

    def settle(self, rounds=50):
        """Rounds until nothing changes, with pods that become ready and gateways that agree if they are there."""
        for _ in range(rounds):
            made = self.carry_out()
            self.change(lambda one: replace(one, agreed=one.agreed or one.online))
            self.ready()
            self.now = max(self.now, made.look_at or 0)
            if self.look().empty:
                return self
        raise AssertionError("it does not settle")

    def ready(self):
        where = {one.pod: one.gateway for one in self.bound()}
        self.world = replace(
            self.world,
            pods={
                name: replace(one, ready=name in where and self.world.gateways[where[name]].online)
                for name, one in self.world.pods.items()
            },
        )

    def change(self, change, *names):
        wanted = names or tuple(self.world.gateways)
        changed = {name: change(one) if name in wanted else one for name, one in self.world.gateways.items()}
        self.world = replace(self.world, gateways=changed)

    def cut(self, name, silent_ms=0):
        self.change(lambda one: replace(one, online=False, agreed=False, silent_ms=silent_ms), name)

    def back(self, name):
        self.change(lambda one: replace(one, online=True, agreed=False, silent_ms=0), name)

    def deploy(self, *deployments):
        self.world = replace(self.world, deployments={one.uid: one for one in deployments})

    def bound(self):
        return [one for one in self.world.placed if one.state == 0]

    def where(self):
        return {one.pod.name: one.gateway for one in self.bound()}

    def stays(self, name="web"):
        return sorted((one.gateway, one.state.name) for one in self.world.placed if one.pod.name == name)


def after(world, made):
    """The world once a plan was carried out."""
    pods = {**{name: one for name, one in world.pods.items() if name not in made.drop}, **made.make}
    placed: dict[tuple, Placed] = {one.place: one for one in world.placed}
    placed.update({one.place: one for one in made.place})
    return replace(world, pods=pods, placed=tuple(one for place, one in placed.items() if place not in made.forget))
