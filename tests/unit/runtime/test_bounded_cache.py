# SPDX-License-Identifier: Apache-2.0
"""A cache that is bounded by the size of what it holds."""

from hypothesis import given
from hypothesis import strategies as st

from ec2net.core.runtime.bounded_cache import BoundedCache

ROOM = 20


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30))))
def test_the_cache_keeps_the_values_used_last_up_to_its_limit(
    puts: list[tuple[int, int]],
) -> None:
    cache: BoundedCache[int, int] = BoundedCache(ROOM)
    sizes: dict[int, int] = {}
    for key, size in puts:
        cache.put(key, size, size)
        sizes.pop(key, None)
        sizes[key] = size
        expected, room = [], ROOM
        for one in reversed(sizes):
            if sizes[one] > ROOM:
                continue
            room -= sizes[one]
            if room < 0:
                break
            expected.append(one)
        sizes = {one: sizes[one] for one in sizes if one in expected}
        assert cache.held == sum(sizes.values()) <= ROOM
        kept = [one for one in range(10) if cache.get(one) is not None]
        assert kept == sorted(sizes)
        for one in sizes:  # the order of their use, which the questions changed
            cache.get(one)


def test_a_value_in_use_outlives_unused_values() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    assert cache.get("a") == 1
    cache.put("c", 3, 1)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
