"""A frontend's rules with what has to be remembered between requests: buckets, turns, where their backends are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Final, TypeAlias

from mesh.balance import Turns
from mesh.limits import Limiter
from mesh.model.policies import Balance, CachedResponse, Degrade, DirectResponse, KeyKind, RateLimit, When
from mesh.model.programme import BackendGroup, BoundRule, Frontend
from mesh.model.routes import Backend, Filter, HeaderModifier, HttpMatch, Mirror, Redirect
from mesh.monitor import Share
from mesh.planes.http.affinity import Affinity
from mesh.planes.http.fields import Lines
from mesh.planes.http.head import Blocks, RequestHead, read_request
from mesh.planes.http.matcher import Matcher
from mesh.planes.http.onward import Onward
from mesh.planes.http.pool import Pool, Pools
from mesh.upstream import Upstream

_PLANS: Final = 256
_PLAN_BYTES: Final = 1024
_SEEN: Final = 2048
_NO_MATCH: Final = HttpMatch()

Instead: TypeAlias = "DirectResponse | CachedResponse | Backing"
"""What is answered when a service cannot."""


class Backing:
    """One backend of a rule, and where it is found now."""

    __slots__ = (
        "_group",
        "_pools",
        "_version",
        "backend",
        "changes",
        "degrade",
        "direct",
        "filters",
        "hashes",
        "limiter",
        "max_uses",
        "pool",
        "share",
        "stale_bytes",
        "upstream",
    )

    def __init__(self, backend: Backend, rule_filters: tuple[Filter, ...], pools: Pools) -> None:
        self.backend = backend
        filters = (*rule_filters, *backend.filters)
        self.filters = tuple(one for one in filters if not isinstance(one, Redirect | Mirror))
        self.changes = tuple(one for one in filters if isinstance(one, HeaderModifier) and one.response)
        """Of the answer's headers."""
        self.upstream: Upstream | None = None
        self.pool: Pool | None = None
        self.limiter: Limiter | None = None
        self.degrade: Mapping[When, Instead] = {}
        self.direct = False
        """Nothing has to be looked at in its requests."""
        self.hashes = False
        """Its endpoint is chosen by a key of the request."""
        self.stale_bytes = 0
        """So long an answer is kept to be given when the service cannot answer."""
        self.share: Share | None = None
        """Where its requests are counted."""
        self.max_uses = 0
        """So many requests one connection may carry; 0: any number."""
        self._pools = pools
        self._version = -1
        self._group: BackendGroup | None = None

    def found(self) -> Upstream | None:
        """Where its requests go now; None: the mesh does not know it."""
        upstream = self.upstream
        if self._version == self._pools.upstreams.version and upstream is not None and upstream.group is self._group:
            return upstream
        self._version = self._pools.upstreams.version
        self.upstream = upstream = self._pools.upstreams.get(self.backend.port)
        if upstream is None:
            self._group = self.pool = self.limiter = None
            return None
        self._group = upstream.group
        policy = upstream.group.policy
        self.direct = (
            policy.rate_limit is None
            and policy.balancer.balance is not Balance.CONSISTENT_HASH
            and not any(isinstance(one.then, CachedResponse) for one in policy.degrade)
        )
        self.hashes = policy.balancer.balance is Balance.CONSISTENT_HASH
        self.max_uses = policy.pool.max_requests_per_connection
        self.pool = self._pools.of(upstream)
        self.pool.most = policy.pool.max_connections
        self.limiter = self._pools.limiter(self.backend.port, policy.rate_limit)
        self.degrade, self.stale_bytes = _degradation(policy.degrade, self._pools)
        return upstream


class RuleState:
    """One rule at work."""

    __slots__ = (
        "_turns",
        "bound",
        "by_source",
        "degrade",
        "direct",
        "limiter",
        "mirrors",
        "only",
        "redirect",
        "request_s",
        "retry",
        "stale_bytes",
        "try_s",
    )

    def __init__(self, bound: BoundRule, limiter: Limiter | None, pools: Pools, rng: Random) -> None:
        rule = bound.rule
        self.bound = bound
        self.limiter = limiter
        self.redirect = next((one for one in rule.filters if isinstance(one, Redirect)), None)
        self.mirrors = tuple(
            (one, Backing(Backend(one.backend), (), pools)) for one in rule.filters if isinstance(one, Mirror)
        )
        backings = [Backing(backend, rule.filters, pools) for backend in rule.backends if backend.weight > 0]
        self.only = backings[0] if len(backings) == 1 else None
        self._turns = Turns([(one, float(one.backend.weight)) for one in backings], rng) if len(backings) > 1 else None
        self.degrade, self.stale_bytes = _degradation(bound.degrade, pools)
        self.by_source = limiter is not None and limiter.rule.per.kind is KeyKind.SOURCE
        self.retry = rule.retry
        self.request_s = rule.request_ms / 1000
        self.try_s = rule.backend_request_ms / 1000
        self.direct = not (self.redirect or self.mirrors or self.stale_bytes) and self.only is not None
        """Its requests go to one backend, and nothing else has to be done for them."""

    def next(self) -> Backing | None:
        """The backend whose turn it is; None: there is none with a weight."""
        return self.only or (self._turns.next() if self._turns else None)


class Plan:
    """What becomes of a request: worked out once for a head, for clients send the same head again and again."""

    __slots__ = ("_onwards", "has_body", "head", "lasting", "match", "rule", "to_head")

    def __init__(self, head: RequestHead, rule: RuleState | None, match: HttpMatch) -> None:
        self.head = head
        self.rule = rule
        self.match = match
        self.has_body = head.has_body
        self.to_head = head.method == b"HEAD"
        self.lasting = head.minor and not head.close
        """A client of HTTP/1.1 that keeps its connection: an answer may go to it as it came."""
        self._onwards: dict[Backing, Onward] = {}

    def onward(self, backing: Backing) -> Onward:
        """The head as it goes to a backend."""
        onward = self._onwards.get(backing)
        if onward is None:
            onward = self._onwards[backing] = Onward(self.head, backing.filters, self.match)
        return onward


class Front:
    """A frontend whose rules may change under its open connections: they count for the next request."""

    def __init__(self, frontend: Frontend, pools: Pools, rng: Random, lines: Lines) -> None:
        self._pools = pools
        self._rng = rng
        self._rules: dict[BoundRule, RuleState] = {}
        self.frontend = frontend
        self._blocks = Blocks(lines)
        self._seen: set[int] = set()
        self.plans: dict[bytes, Plan] = {}
        """Of heads without a body, by their very bytes."""
        self.affinity: Affinity | None = None
        self._matcher: Matcher[RuleState] = Matcher(())
        self.update(frontend)

    def update(self, frontend: Frontend) -> None:
        """Take other rules; what is remembered of rules that stay is kept. Raises ValueError for a bad pattern."""
        states = {bound: self._rules.get(bound) or self._state(bound) for bound in dict.fromkeys(frontend.rules)}
        matcher = Matcher((states[bound], bound.hostnames, bound.rule.matches) for bound in frontend.rules)
        self._rules, self._matcher, self.frontend = states, matcher, frontend
        self.plans.clear()
        if not frontend.affinity_s:
            self.affinity = None
        elif self.affinity is None or self.affinity.stay_s != frontend.affinity_s:
            self.affinity = Affinity(frontend.affinity_s)

    def plan(self, raw: bytes) -> Plan:
        """What becomes of a request with this head. Raises BadMessage."""
        plan = self.plans.get(raw)
        if plan is None:
            head = read_request(raw, self._blocks)
            found = self._matcher.find(head)
            plan = Plan(head, found.rule, found.match) if found else Plan(head, None, _NO_MATCH)
            if len(raw) <= _PLAN_BYTES and not plan.has_body:
                self._remember(raw, plan)
        return plan

    def _remember(self, raw: bytes, plan: Plan) -> None:
        """Keep the plan of a head that came twice; one that never comes again is not worth it."""
        name = hash(raw)
        if name not in self._seen:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen.add(name)
            return
        if len(self.plans) >= _PLANS:
            self.plans.clear()
        self.plans[raw] = plan

    def _state(self, bound: BoundRule) -> RuleState:
        limit: RateLimit | None = bound.rate_limit
        limiter = self._pools.limiter(bound.route or self.frontend.key, limit)
        return RuleState(bound, limiter, self._pools, self._rng)


def _degradation(rules: Iterable[Degrade], pools: Pools) -> tuple[Mapping[When, Instead], int]:
    """What is answered instead, and how long answers are that have to be kept for it."""
    instead: dict[When, Instead] = {}
    stale_bytes = 0
    for rule in rules:
        then = rule.then
        if isinstance(then, CachedResponse):
            stale_bytes = max(stale_bytes, then.max_bytes)
        instead[rule.when] = Backing(then, (), pools) if isinstance(then, Backend) else then
    return instead, stale_bytes


def mirrored(rule: RuleState, rng: Random) -> Iterable[Backing]:
    """The backends that get a copy this time."""
    return [backing for mirror, backing in rule.mirrors if rng.random() * 100 < mirror.percent]
