"""What the mesh's process and its owner tell each other comes back as it was, or is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.alerts import Alert
from mesh.breaker import BreakerState
from mesh.difference import table_difference
from mesh.errors import ControlError
from mesh.frames import (
    MAX_FRAME_BYTES,
    Alarms,
    Alerted,
    Asked,
    Begin,
    Callers,
    Changed,
    Counted,
    Cutter,
    Health,
    PlaneState,
    Programmed,
    Reached,
    Ready,
    Vote,
    Votes,
    Whole,
    encode,
    from_mesh,
    from_owner,
)
from mesh.model.alarms import AlarmMetric, AlarmRule
from mesh.model.services import Plane
from mesh.model.table import Table, TableChange
from mesh.problems import Problem, Reason
from mesh.settings import Settings
from mesh.snapshot import Own, PlaceView, ShareCounts, ShareKey, Snapshot, UpstreamView
from mesh.snapshot import PlaceState as Stands
from mesh.tally import Counts
from tests.mesh.tables import pkey, rkey, skey
from tests.mesh.test_wire import FULL

pytestmark = pytest.mark.fast

VOTE = Vote(port=pkey(), place="10.0.0.1:80", healthy=False)
RULE = AlarmRule("default/slow", (skey(),), AlarmMetric.P99_MS, threshold=100.0)
SHARE = ShareCounts(
    ShareKey(pkey(), "HTTPRoute default/web", pkey()),
    (("10.0.0.1:80", Counts(times=((3, 1),), bytes_in=7)),),
    ((Own.NO_ROUTE, 2),),
)
VIEW = UpstreamView(pkey(), (PlaceView("10.0.0.1:80", Stands.EJECTED),), BreakerState.OPEN)
OWNER = (
    Begin(settings=Settings(node="gw-1", plane=Plane.NFTABLES, dns_listen=("127.0.0.1:53",))),
    Whole(number=1, table=table_difference(Table(), FULL)),
    Changed(number=2, change=TableChange(gone_services=(skey(),), gone_routes=(rkey(),))),
    Votes(node="gw-2", votes=(VOTE,), age_ms=10),
    Votes(node="gw-2", votes=()),
    Reached(cloud=True, peers=("gw-2",)),
    Alarms(rules=(RULE,)),
    Callers(names={"10.0.0.9": "default/shop"}),
)
MESH = (
    Ready(pid=7, planes=(PlaneState(plane=Plane.USERSPACE), PlaneState(plane=Plane.NFTABLES, why_not="no root"))),
    Programmed(number=3, problems={skey(): (Problem(Reason.LOOP, "x"),), rkey(): ()}),
    Programmed(number=4),
    Health(votes=(VOTE,)),
    Counted(snapshot=Snapshot(1.5, (SHARE,), upstreams=(VIEW,), gone=(pkey("old"),))),
    Alerted(alerts=(Alert(RULE, skey(), firing=True, since_s=1.0, value=2.0, text="x"),)),
    Asked(services=(skey("other"),)),
)


@pytest.mark.parametrize("frame", OWNER, ids=lambda frame: frame.kind)
def test_what_the_owner_says_comes_back_as_it_was(frame):
    assert from_owner(encode(frame)[4:]) == frame


@pytest.mark.parametrize("frame", MESH, ids=lambda frame: frame.kind)
def test_what_the_mesh_says_comes_back_as_it_was(frame):
    assert from_mesh(encode(frame)[4:]) == frame


@given(st.lists(st.sampled_from((*OWNER, *MESH)), max_size=5), st.lists(st.integers(1, 400), max_size=9))
def test_frames_are_cut_out_however_they_arrive(frames, cuts):
    stream = b"".join(encode(frame) for frame in frames)
    cutter, found = Cutter(), []
    for cut in cuts:
        found += cutter.take(stream[:cut])
        stream = stream[cut:]
    found += cutter.take(stream)
    assert found == [encode(frame)[4:] for frame in frames]


def test_a_frame_that_is_too_long_is_refused_before_it_is_kept():
    with pytest.raises(ControlError, match="is announced"):
        list(Cutter().take((MAX_FRAME_BYTES + 1).to_bytes(4, "big")))


def test_what_is_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr("mesh.frames.MAX_FRAME_BYTES", 50)
    with pytest.raises(ControlError, match="Split the table"):
        encode(OWNER[1])


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"\xff", b'{"kind":"whole"}', b'{"kind":"ready","pid":1,"planes":[]}', b"[" * 99_999]
)
def test_nonsense_is_refused(text):
    with pytest.raises(ControlError, match="means nothing"):
        from_owner(text)


@given(st.binary(max_size=100))
def test_garbage_is_refused_and_nothing_else_happens(text):
    for read in (from_owner, from_mesh):
        with pytest.raises(ControlError):
            read(text)
