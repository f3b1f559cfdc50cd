import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import FetchEvent, FetchLog, open_store, read_fetch_log
from storage.errors import StoreDamaged
from storage.outcomes import utc_now


def event(name="a", utc="2026-01-01T00:00:00+00:00", **more):
    return FetchEvent(item_id=f"demo/{name}/whole", reason="ok", utc=utc, **more)


paths = st.text(max_size=10) | st.binary(max_size=10).map(os.fsdecode)


@given(
    detail=paths,
    origin=paths,
    stat=st.none() | st.tuples(st.integers(0), st.integers(0)),
    sidecars=st.dictionaries(
        st.text(max_size=4), st.fixed_dictionaries({"path": st.text(), "sha256": st.text()})
    ),
)
def test_events_read_back(tmp_path_factory, detail, origin, stat, sidecars):
    layout = open_store(tmp_path_factory.mktemp("s"), create=True)
    written = event(
        detail=detail, origin=origin, origin_stat=stat, sidecars=sidecars, duration_s=1.5
    )
    with FetchLog(layout, "demo") as log:
        log.append(written)
    assert read_fetch_log(layout, "demo") == {"demo/a/whole": written}
    assert written.outcome.ok


def test_the_latest_time_wins_over_all_writers(layout):
    assert read_fetch_log(layout, "demo") == {}
    late = event("a", "2026-01-01T05:00:00+00:00", media="late")
    with FetchLog(layout, "demo") as one, FetchLog(layout, "demo") as two:
        one.append(late)
        two.append(event("a", "2026-01-01T04:00:00Z", media="early"))
        two.append(event("b", "2026-01-01T05:00:00", media="naive is UTC"))
        two.append(event("b", "2026-01-01T05:30:00+01:00", media="4:30 UTC"))
    found = read_fetch_log(layout, "demo")
    assert {key.split("/")[1]: e.media for key, e in found.items()} == {
        "a": "late",
        "b": "naive is UTC",
    }
    assert len(list(layout.fetch_log("demo").iterdir())) == 2
    assert utc_now() > late.utc


def test_of_equal_times_the_later_line_wins(layout):
    with FetchLog(layout, "demo") as log:
        log.append(event(media="first"))
        log.append(event(media="second"))
    assert read_fetch_log(layout, "demo")["demo/a/whole"].media == "second"


def test_a_torn_last_line_is_no_event(layout):
    with FetchLog(layout, "demo") as log:
        log.append(event("a"))
        log.append(event("b"))
    path = next(layout.fetch_log("demo").iterdir())
    path.write_bytes(path.read_bytes()[:-10])
    assert list(read_fetch_log(layout, "demo")) == ["demo/a/whole"]


def test_a_damaged_line_inside_is_named(layout):
    with FetchLog(layout, "demo") as log:
        log.append(event("a"))
    path = next(layout.fetch_log("demo").iterdir())
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(StoreDamaged, match="line 1"):
        read_fetch_log(layout, "demo")
