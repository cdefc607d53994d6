"""A data plane in memory: what it carries, and what it refuses."""

from mesh.errors import PlaneError


class Board:
    """What a plane was told. ``refuses`` are frontends that it cannot have; ``log`` is shared to see the order."""

    def __init__(self, plane, log=None):
        self.plane = plane
        self.carried, self.backends, self.refuses = {}, {}, {}
        self.broken = False
        self.breaks_late = False
        self.closed = False
        self.log = log if log is not None else []

    async def open(self):
        pass

    async def program(self, delta):
        if self.broken:
            raise PlaneError("the kernel said no", remedy="Look at it")
        problems = {}
        for one in delta.frontends:
            if one.plane is not self.plane:
                if self.carried.pop(one.key, None):
                    self.log.append(f"{self.plane} closes {one.key}")
            elif one.key in self.refuses:
                problems[one.key] = self.refuses[one.key]
            else:
                if one.key not in self.carried:
                    self.log.append(f"{self.plane} opens {one.key}")
                self.carried[one.key] = one
        for key in delta.gone_frontends:
            if self.carried.pop(key, None):
                self.log.append(f"{self.plane} closes {key}")
        self.backends |= {one.key: one for one in delta.backends}
        for key in delta.gone_backends:
            self.backends.pop(key, None)
        if self.breaks_late:
            raise PlaneError("the kernel did not answer")
        return problems

    def traffic(self):
        return ()

    async def close(self):
        self.closed = True
