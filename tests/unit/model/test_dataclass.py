# SPDX-License-Identifier: Apache-2.0
"""Dataclasses with late methods do what those of the standard library do."""

import copy
import dataclasses
import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from ec2net.core.model.dataclass import dataclass

Decorator = Callable[..., Callable[[type], Any]]


class Values:
    """The same classes by one of the two decorators."""

    def __init__(self, decorator: Decorator) -> None:
        @decorator(frozen=True, slots=True)
        class Point:
            """A point."""

            x: int
            y: int = 0
            name: str = field(default="", compare=False)
            tags: Mapping[str, int] = field(default_factory=dict)
            hidden: int = field(default=7, init=False, repr=False)

        @decorator(frozen=True, slots=True)
        class Further(Point):
            """A derived class."""

            z: int = 3

        @decorator(frozen=True, order=True, slots=True)
        class Name:
            """A value with an order."""

            text: str

            def __str__(self) -> str:
                return self.text

        @decorator(slots=True)
        class Counter:
            """A value that changes."""

            count: int = 0

        @decorator(frozen=True)
        class Positive:
            """A value that is checked."""

            number: int

            def __post_init__(self) -> None:
                if self.number <= 0:
                    raise ValueError(f"{self.number} is not positive")

        made: tuple[Any, ...] = (Point, Further, Name, Counter, Positive)
        self.point, self.further, self.name, self.counter, self.positive = made


@pytest.fixture(params=[dataclass, dataclasses.dataclass], ids=["late", "standard"])
def values(request: pytest.FixtureRequest) -> Values:
    return Values(request.param)


def test_fields_are_set_by_position_by_name_and_by_default(values: Values) -> None:
    point = values.point(1, name="a")
    assert (point.x, point.y, point.name, point.tags, point.hidden) == (1, 0, "a", {}, 7)
    assert point.tags is not values.point(1).tags
    assert repr(point).endswith("Point(x=1, y=0, name='a', tags={})")
    assert [one.name for one in fields(point)] == ["x", "y", "name", "tags", "hidden"]


def test_values_are_equal_by_the_compared_fields_of_one_class(values: Values) -> None:
    assert values.point(1, name="a") == values.point(1, name="b")
    assert values.point(1) != values.point(2)
    assert values.point(1) != values.further(1)
    assert values.name("a") != "a"
    assert {values.name("a"), values.name("a")} == {values.name("a")}
    assert hash(values.name("a")) == hash(values.name("a"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(values.counter())


def test_a_derived_class_has_the_fields_of_both(values: Values) -> None:
    further = values.further(1, z=5)
    assert (further.x, further.y, further.z, further.hidden) == (1, 0, 5, 7)
    assert further == values.further(1, z=5) != values.further(1)


def test_a_frozen_value_refuses_changes_and_can_be_replaced_and_copied(values: Values) -> None:
    point = values.point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert replace(point, x=2) == values.point(2)
    assert copy.deepcopy(point) == copy.copy(point) == point


def test_a_value_that_is_not_frozen_changes(values: Values) -> None:
    counter = values.counter()
    counter.count += 1
    assert counter == values.counter(1)
    with pytest.raises(AttributeError):
        counter.other = 1


def test_values_have_an_order_where_it_is_asked_for(values: Values) -> None:
    assert sorted(map(values.name, "ba")) == [values.name("a"), values.name("b")]
    assert values.name("a") <= values.name("a") > values.name("A")
    assert values.name("a") >= values.name("A")
    assert str(values.name("a")) == "a"
    with pytest.raises(TypeError, match="not supported"):
        _ = values.point(1) < values.point(2)


def test_a_wrong_call_is_an_error_that_names_the_class(values: Values) -> None:
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing 1 required .* 'x'"):
        values.point()
    with pytest.raises(TypeError, match="unexpected keyword argument 'w'"):
        values.point(1, w=2)


def test_a_value_is_checked_when_it_is_made(values: Values) -> None:
    assert values.positive(1).number == 1
    with pytest.raises(ValueError, match="0 is not positive"):
        values.positive(0)


@dataclass(frozen=True, slots=True)
class Stored:
    """A class that pickle can find."""

    text: str


def test_a_value_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Stored("a"))) == Stored("a")


def test_a_method_is_compiled_at_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, slots=True)
    class Unused:
        """A class."""

        text: str

    first = vars(Unused)["__init__"]
    assert Unused("a").text == "a"
    assert vars(Unused)["__init__"] is not first
    monkeypatch.setattr(dataclasses, "dataclass", None)  # nothing is compiled a second time
    assert Unused("b").text == "b"
