"""The only place that builds or parses a topic.

    et/1/report/<reporter>/<kind>/<namespace>/<name>   reporter -> hub   readings of one twin          Report
    et/1/ack/<reporter>                                hub -> reporter   what is on disk, what not     Ack
    et/1/delta/<kind>/<namespace>/<name>               hub -> mappers    desired, not yet reported     Delta, retained
    et/1/mapper/<account>/config                       hub -> mapper     connections to serve          retained
    et/1/mapper/<account>/state                        mapper -> hub     birth and will                retained
    et/1/alert/<namespace>/<subject>/<rule>            hub -> clients    an alarm fires or is over     Alert, retained
    et/1/mesh/<gateway>/endpoints                      hub -> gateways   what it offers         MeshEndpoints, retained
    et/1/mesh/<gateway>/votes                          hub -> gateways   what it found of others        MeshVotes
    et/1/api/<verb>                                    client -> hub     request with response topic
    et/1/reply/<account>/<client>                      hub -> client     replies, by correlation data

Between gateway and cloud, on the cloud's broker:

    et/1/sync/<gateway>/up                             gateway -> cloud   twin.wire.sync
    et/1/sync/<gateway>/down                           cloud -> gateway   twin.wire.sync
    et/1/sync/<gateway>/state                          birth and will of the gateway               retained
    et/1/api/<verb>/<account>                          client -> cloud    request with response topic
    et/1/reply/<account>/<client>                      cloud -> client    replies, by correlation data
    et/1/cloud/<what>                                  workers among themselves

The reporter is the broker account, so that the broker's own ACL says who may report what.

KubeEdge's dialect (<device> is <namespace>/<name> or <name>):

    $hw/events/device/<device>/twin/<action>           update, get, cloud_updated; answers have one level more
    $hw/events/device/<device>/state/<action>          update, get; the same
    $hw/events/device/<device>/updated                 attributes, both ways
    $hw/events/node/<node>/membership/<action>         get, detail, updated
    $ke/events/device/<device>/data/update             readings as a time series

AWS's dialect:

    $aws/things/<thing>/shadow/<action>                  get, update, delete; answers have one level more
    $aws/things/<thing>/shadow/name/<shadow>/<action>    the same for a named shadow
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twin.errors import InvalidName
from twin.model import NAME, PROPERTY, Kind, TwinKey, checked_name

ROOT: Final = "et/1"
ALL_REPORTS: Final = f"{ROOT}/report/#"
ALL_REQUESTS: Final = f"{ROOT}/api/+"
ALL_DELTAS: Final = f"{ROOT}/delta/#"
ALL_MAPPER_STATES: Final = f"{ROOT}/mapper/+/state"
ALL_ALERTS: Final = f"{ROOT}/alert/#"


SHARED: Final = "$share/cloud/"
"""Before a filter: each message goes to one of the workers only."""
ALL_SYNC_UP: Final = f"{ROOT}/sync/+/up"
ALL_SYNC_STATES: Final = f"{ROOT}/sync/+/state"
ALL_CLOUD_REQUESTS: Final = f"{ROOT}/api/+/+"


@dataclass(frozen=True, slots=True)
class CloudRequestTopic:
    """What is asked for, and who asks: the broker's access rules let an account write its own name only."""

    verb: str
    account: str


@dataclass(frozen=True, slots=True)
class ReportTopic:
    """Who reports, and which twin."""

    reporter: str
    key: TwinKey


def report(reporter: str, key: TwinKey) -> str:
    """Topic on which a reporter sends the readings of one twin."""
    return f"{ROOT}/report/{reporter}/{key}"


def reports_of(reporter: str) -> str:
    """Filter over all reports of one reporter."""
    return f"{ROOT}/report/{reporter}/#"


def simulated_reporter(account: str) -> str:
    """Name under which an account reports values that are simulated, so that nobody takes them for a device's."""
    return account + _SIMULATED


def is_simulated(reporter: str) -> bool:
    """Whether what this reporter says is simulated."""
    return reporter.endswith(_SIMULATED)


def ack(reporter: str) -> str:
    """Topic on which a reporter learns what is on disk."""
    return f"{ROOT}/ack/{reporter}"


def delta(key: TwinKey) -> str:
    """Topic of the retained delta of one twin."""
    return f"{ROOT}/delta/{key}"


def mapper_config(account: str) -> str:
    """Topic of the retained configuration of one mapper host."""
    return f"{ROOT}/mapper/{account}/config"


def mapper_state(account: str) -> str:
    """Topic of a mapper host's birth and will."""
    return f"{ROOT}/mapper/{account}/state"


def alert(namespace: str, subject: str, rule: str) -> str:
    """Topic on which is told that an alarm fires, or is over."""
    return f"{ROOT}/alert/{namespace}/{subject}/{rule}"


def mesh_endpoints(gateway: str) -> str:
    """Topic on which a gateway tells its peers what it offers."""
    return f"{ROOT}/mesh/{gateway}/endpoints"


def mesh_votes(gateway: str) -> str:
    """Topic on which a gateway tells its peers which endpoints it reaches."""
    return f"{ROOT}/mesh/{gateway}/votes"


def mesh_of(gateway: str) -> str:
    """Filter over all that a gateway tells its peers."""
    return f"{ROOT}/mesh/{gateway}/+"


def request(verb: str) -> str:
    """Topic on which a verb of the API is asked for."""
    return f"{ROOT}/api/{verb}"


def reply(account: str, client: str) -> str:
    """Response topic of one client."""
    return f"{ROOT}/reply/{account}/{client}"


def replies(account: str) -> str:
    """Filter over all response topics of one account."""
    return f"{ROOT}/reply/{account}/#"


def cloud_request(verb: str, account: str) -> str:
    """Topic on which an account asks the cloud for a verb."""
    return f"{ROOT}/api/{verb}/{account}"


def sync_up(gateway: str) -> str:
    """Topic on which a gateway speaks to the cloud."""
    return f"{ROOT}/sync/{gateway}/up"


def sync_down(gateway: str) -> str:
    """Topic on which the cloud speaks to a gateway."""
    return f"{ROOT}/sync/{gateway}/down"


def sync_state(gateway: str) -> str:
    """Topic of a gateway's birth and will."""
    return f"{ROOT}/sync/{gateway}/state"


def worker(what: str) -> str:
    """Topic on which the cloud's workers tell each other something."""
    return f"{ROOT}/cloud/{what}"


def parse_sync(topic: str) -> str:
    """Gateway of a sync topic. Raises InvalidName."""
    levels = topic.split("/")
    if len(levels) != 5 or levels[:3] != [*ROOT.split("/"), "sync"]:
        raise InvalidName(what="sync topic", text=topic, rule=sync_up("<gateway>"))
    return checked_name(levels[3], "gateway")


def parse_cloud_request(topic: str) -> CloudRequestTopic:
    """Read a request topic of the cloud. Raises InvalidName."""
    levels = topic.split("/")
    if len(levels) != 5 or levels[:3] != [*ROOT.split("/"), "api"]:
        raise InvalidName(what="request topic", text=topic, rule=cloud_request("<verb>", "<account>"))
    return CloudRequestTopic(levels[3], checked_name(levels[4], "account"))


def parse_report(topic: str) -> ReportTopic:
    """Read a report topic. Raises InvalidName naming the level that is wrong."""
    levels = topic.split("/")
    if len(levels) != 7:
        raise InvalidName(what="report topic", text=topic, rule=report("<reporter>", _EXAMPLE))
    reporter, kind, namespace, name = levels[3:]
    return ReportTopic(checked_name(reporter, "reporter"), TwinKey.parse(f"{kind}/{namespace}/{name}"))


def parse_delta(topic: str) -> TwinKey:
    """Read a delta topic. Raises InvalidName."""
    levels = topic.split("/")
    if len(levels) != 6:
        raise InvalidName(what="delta topic", text=topic, rule=delta(_EXAMPLE))
    return TwinKey.parse("/".join(levels[3:]))


def parse_request(topic: str) -> str:
    """Verb of a request topic, on a gateway or in the cloud; empty if it is none."""
    levels = topic.split("/")
    return levels[3] if len(levels) > 3 else ""


def parse_mapper(topic: str) -> str:
    """Account of a mapper's config or state topic."""
    return checked_name(topic.split("/")[3], "mapper account")


def is_reply(topic: str) -> bool:
    """Whether a response topic lies where replies may go; any other place is refused."""
    levels = topic.split("/")
    if len(levels) != 5 or not topic.startswith(f"{ROOT}/reply/") or "#" in topic:
        return False
    account, client = levels[3:]
    return NAME.fullmatch(account) is not None and PROPERTY.fullmatch(client) is not None


# -- KubeEdge ----------------------------------------------------------------------------------------------------

KUBEEDGE_REQUESTS: Final = tuple(
    f"{root}/events/{rest}"
    for root, rest in (
        *(("$hw", f"device/{device}/{part}/+") for device in ("+", "+/+") for part in ("twin", "state")),
        *(("$ke", f"device/{device}/data/update") for device in ("+", "+/+")),
        ("$hw", "node/+/membership/get"),
    )
)
"""What KubeEdge's own bus listens to."""
KUBEEDGE_MORE_REQUESTS: Final = (
    *(f"$hw/events/device/{device}/updated" for device in ("+", "+/+")),
    "$hw/events/node/+/membership/detail",
)
"""What it knows and does not listen to on MQTT."""
_KUBEEDGE_WRITES: Final = ("twin/update", "twin/get", "twin/cloud_updated", "state/update", "state/get", "updated")
_KUBEEDGE_MEMBERSHIP_WRITES: Final = ("get", "detail")


@dataclass(frozen=True, slots=True)
class KubeEdgeTopic:
    """About what a KubeEdge request is, ``<namespace>/<name>``, ``<name>`` or a node; and what it asks for."""

    subject: str
    action: str
    """``twin/update`` and so on; ``membership/get``; ``data/update``."""


def kubeedge_device(device: str, action: str) -> str:
    """Topic of one device: ``twin/update/result`` and so on."""
    return f"$hw/events/device/{device}/{action}"


def kubeedge_readings(device: str) -> str:
    """Topic on which a mapper sends a device's readings as a time series."""
    return f"$ke/events/device/{device}/data/update"


def kubeedge_node(node: str, action: str) -> str:
    """Topic of a node's list of devices: ``membership/get/result`` and so on."""
    return f"$hw/events/node/{node}/{action}"


def kubeedge_writes(device: str) -> tuple[str, ...]:
    """Every topic on which a program may speak about one device."""
    return (*(kubeedge_device(device, action) for action in _KUBEEDGE_WRITES), kubeedge_readings(device))


def kubeedge_answers(device: str) -> tuple[str, ...]:
    """Filters over every topic of one device, and the one on which KubeEdge answers what it cannot read."""
    return (kubeedge_device(device, "#"), kubeedge_readings(device), kubeedge_device("", "twin/update/result"))


def kubeedge_membership_writes() -> tuple[str, ...]:
    """Filters over the requests for the list of devices."""
    return tuple(kubeedge_node("+", f"membership/{action}") for action in _KUBEEDGE_MEMBERSHIP_WRITES)


def kubeedge_membership_answers() -> tuple[str, ...]:
    """Filters over all that is said about the list of devices."""
    return (kubeedge_node("+", "membership/#"),)


def parse_kubeedge(topic: str) -> KubeEdgeTopic:
    """Read a topic that matches one of the request filters."""
    levels = topic.split("/")
    cut = -1 if levels[-1] == "updated" else -2
    return KubeEdgeTopic("/".join(levels[3:cut]), "/".join(levels[cut:]))


# -- AWS IoT Device Shadow ---------------------------------------------------------------------------------------

_AWS_ACTIONS: Final = ("get", "update", "delete")


@dataclass(frozen=True, slots=True)
class ShadowTopic:
    """Of which thing, which shadow (empty: the classic one), and what is asked for."""

    thing: str
    shadow: str
    action: str


def aws_shadow(thing: str, shadow: str, action: str) -> str:
    """Topic of one shadow: ``update``, ``update/accepted`` and so on."""
    return f"$aws/things/{thing}/shadow/{f'name/{shadow}/' if shadow else ''}{action}"


def aws_requests(thing: str = "+") -> tuple[str, ...]:
    """Filters over all that may be asked of a thing's shadows, or of every thing's."""
    return tuple(aws_shadow(thing, shadow, action) for shadow in ("", "+") for action in _AWS_ACTIONS)


def aws_shadows(thing: str) -> str:
    """Filter over all topics of a thing's shadows."""
    return f"$aws/things/{thing}/shadow/#"


def parse_aws(topic: str) -> ShadowTopic:
    """Read a topic that matches one of the request filters."""
    levels = topic.split("/")
    return ShadowTopic(levels[2], levels[5] if len(levels) == 7 else "", levels[-1])


_SIMULATED: Final = ".simulated"
_EXAMPLE: Final = TwinKey(Kind.DEVICE, "default", "tank")
