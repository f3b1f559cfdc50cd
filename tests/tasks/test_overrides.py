"""Overrides of configurations are merged level by level and leave their inputs alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.models import merged

values = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner), max_leaves=6
)
mappings = st.dictionaries(st.sampled_from("abc"), values)


@given(mappings, mappings)
def test_every_override_wins_and_the_rest_stays(base: dict, changes: dict) -> None:
    before = repr(base)
    result = merged(base, changes)
    assert repr(base) == before
    assert set(result) == set(base) | set(changes)
    for key, value in result.items():
        if key not in changes:
            assert value == base[key]
        elif not (isinstance(changes[key], dict) and isinstance(base.get(key), dict)):
            assert value == changes[key]
        else:
            assert value == merged(base[key], changes[key])
