"""Messages between gateway and cloud: one of each kind by hand, and any by hypothesis."""

from hypothesis import strategies as st

from twin import exchange as ex
from twin.document import DELETED, Slot
from twin.history import Gap, Reading, Why
from twin.model import Kind, Quality, Reason, Section, Site, TwinKey

AT = 1_700_000_000_123
TICK = AT * 1000 + 456
TANK = TwinKey(Kind.DEVICE, "plant", "tank")
PUMP = TwinKey(Kind.DEVICE, "plant", "pump")
ROWS = (
    ex.Row(TANK, "u1", Section.REPORTED, "level", Site.EDGE, Slot(41.5, TICK, 0, "mapper", AT)),
    ex.Row(TANK, "u1", Section.REPORTED, "note", Site.EDGE, Slot({"ü": [1, None]}, TICK + 1, 0, "mapper", AT - 5)),
    ex.Row(PUMP, "", Section.DESIRED, "on", Site.EDGE, Slot(DELETED, TICK + 2, TICK - 9, "cli", AT)),
    ex.Row(
        TANK,
        "u1",
        Section.REPORTED,
        "raw",
        Site.EDGE,
        Slot(None, TICK + 3, 0, "mapper", AT, Quality.BAD, Reason.TIMEOUT),
    ),
)
OTHER = ex.Row(TANK, "u1", Section.DESIRED, "valve", Site.CLOUD, Slot(40, TICK - 9, 0, "ada", AT))
STANDING = ex.Standing((ex.Run("r1", 1), ex.Run("r2", TICK)), frozenset({"c1", "c2"}), TICK - 9, TICK)
REF = ex.DocumentRef("Device", "plant", "tank")
STATE = ex.DocumentState(REF, "u1", 3, "5e88", frozenset({"u0"}))
GONE = ex.DocumentState(ex.DocumentRef("Pod", "plant", "web"), "", 0, "", frozenset({"p1"}))
SERIES = ex.SeriesReadings(
    TANK,
    "u1",
    "level",
    (Reading(AT, TICK, 41.5), Reading(AT + 500, TICK + 9, None, Quality.BAD, Reason.TIMEOUT)),
    (Gap(AT - 9000, AT - 1000, 17, Why.SPACE),),
)
MESSAGES = {
    "hello": ex.Hello("n1", STANDING),
    "welcome": ex.Welcome("n1", "n1.s1", STANDING),
    "refusal": ex.Refusal("n1", ex.RefusedFor.FENCED, 30.5),
    "frame": ex.Frame("n1.s1", TICK - 1, TICK + 3, ROWS),
    "frame-empty": ex.Frame("n1.s1", 7, 7, ()),
    "ack": ex.Ack("n1.s1", TICK),
    "ack-again": ex.Ack("n1.s1", 0, again=True),
    "digests": ex.Digests(
        "n1.s1", ((TANK, "u1", bytes(range(16))),), recovering=True, after=(PUMP, ""), upto=(TANK, "u1")
    ),
    "digests-all": ex.Digests("n1.s1", ()),
    "twins": ex.Twins("n1.s1", (OTHER,), answer=True, differing=frozenset({(TANK, "u1")}), upto=(TANK, "u1")),
    "twins-empty": ex.Twins("n1.s1", ()),
    "document-digests": ex.DocumentDigests(
        "n1.s1", (STATE, GONE), ((TwinKey(Kind.MAPPER, "plant", "main-board"), ""),)
    ),
    "document-digests-summary": ex.DocumentDigests("n1.s1", (), (), "00ff"),
    "documents": ex.Documents(
        "n1.s1", (ex.DocumentRow(STATE, {"kind": "Device", "spec": {"ü": 1}}), ex.DocumentRow(GONE, None)), (REF,)
    ),
    "history": ex.HistoryFrame("n1.s1", "l1", "", f"{TICK}", (SERIES,)),
    "history-ack": ex.HistoryAck("n1.s1", "l1", f"{TICK}"),
    "command": ex.Command("n1.s1", "k1", AT + 30_000, TANK, {"valve": 40}, "ada"),
    "command-done": ex.CommandDone("n1.s1", "k1", ex.Outcome.REFUSED, "invalid_value", "valve: 400", "Send less."),
    "alive": ex.Alive("n1.s1"),
    "ask": ex.Ask("n1.s1", hello=True, documents=True),
}

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,4}[a-z0-9])?", fullmatch=True)
IDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
UIDS = st.just("") | IDS
TICKS = st.integers(0, 2**63 - 1)
KEYS = st.builds(TwinKey, st.sampled_from(list(Kind)), NAMES, NAMES)
PLACES = st.tuples(KEYS, UIDS)
PROPERTIES = st.from_regex(r"[A-Za-z0-9_.,:/@#-]{1,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
SLOTS = st.builds(
    Slot,
    st.just(DELETED) | VALUES,
    TICKS,
    st.just(0) | TICKS,
    TEXTS,
    TICKS,
    st.sampled_from(list(Quality)),
    st.sampled_from(list(Reason)),
)


@st.composite
def rows(draw):
    """Rows in the order of ticks, each tick once, as a feed has them."""
    found = draw(
        st.lists(
            st.builds(ex.Row, KEYS, UIDS, st.just(Section.DESIRED), PROPERTIES, st.sampled_from(list(Site)), SLOTS)
            | st.builds(ex.Row, KEYS, UIDS, st.just(Section.REPORTED), PROPERTIES, st.just(Site.EDGE), SLOTS),
            max_size=6,
            unique_by=lambda row: row.slot.tick,
        )
    )
    return tuple(sorted(found, key=lambda row: row.slot.tick))


STANDINGS = st.builds(
    ex.Standing,
    st.lists(st.builds(ex.Run, IDS, TICKS), max_size=3).map(tuple),
    st.frozensets(IDS, max_size=3),
    TICKS,
    TICKS,
)
REFS = st.builds(ex.DocumentRef, IDS, IDS, IDS)
STATES = st.one_of(
    st.builds(ex.DocumentState, REFS, IDS, TICKS, UIDS, st.frozensets(IDS, max_size=2)),
    st.builds(ex.DocumentState, REFS, st.just(""), st.just(0), st.just(""), st.frozensets(IDS, max_size=2)),
)
READINGS = st.builds(Reading, TICKS, TICKS, VALUES, st.sampled_from(list(Quality)), st.sampled_from(list(Reason)))
GAPS = st.builds(Gap, TICKS, TICKS, TICKS, st.sampled_from(list(Why)))
SERIES_OF = st.builds(
    ex.SeriesReadings,
    KEYS,
    UIDS,
    PROPERTIES,
    st.lists(READINGS, max_size=4).map(tuple),
    st.lists(GAPS, max_size=2).map(tuple),
)
ANY = st.one_of(
    st.builds(ex.Hello, IDS, STANDINGS),
    st.builds(ex.Welcome, IDS, IDS, STANDINGS),
    st.builds(ex.Refusal, IDS, st.sampled_from(list(ex.RefusedFor)), st.floats(0, 86_400)),
    st.builds(ex.Frame, IDS, TICKS, TICKS, rows()),
    st.builds(ex.Ack, IDS, TICKS, st.booleans()),
    st.builds(
        ex.Digests,
        IDS,
        st.lists(st.tuples(KEYS, UIDS, st.binary(min_size=16, max_size=16)), max_size=4).map(tuple),
        st.booleans(),
        st.none() | PLACES,
        st.none() | PLACES,
    ),
    st.builds(ex.Twins, IDS, rows(), st.booleans(), st.frozensets(PLACES, max_size=3), st.none() | PLACES),
    st.builds(
        ex.DocumentDigests, IDS, st.lists(STATES, max_size=3).map(tuple), st.lists(PLACES, max_size=3).map(tuple), UIDS
    ),
    st.builds(
        ex.Documents,
        IDS,
        st.lists(
            st.builds(ex.DocumentRow, STATES, st.none() | st.dictionaries(TEXTS, VALUES, max_size=3)), max_size=3
        ).map(tuple),
        st.lists(REFS, max_size=3).map(tuple),
    ),
    st.builds(ex.HistoryFrame, IDS, UIDS, UIDS, UIDS, st.lists(SERIES_OF, max_size=3).map(tuple)),
    st.builds(ex.HistoryAck, IDS, UIDS, UIDS),
    st.builds(ex.Command, IDS, IDS, TICKS, KEYS, st.dictionaries(TEXTS, VALUES, max_size=3), TEXTS),
    st.builds(ex.CommandDone, IDS, IDS, st.sampled_from(list(ex.Outcome)), TEXTS, TEXTS, TEXTS),
    st.builds(ex.Alive, IDS),
    st.builds(ex.Ask, UIDS, st.booleans(), st.booleans()),
)
