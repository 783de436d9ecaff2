"""The base class of every record."""

import pytest

from urunc._record import Record, replace


class Point(Record):
    """A record with a default."""

    x: int
    y: int = 2


class Other(Record):
    """As Point, but another type."""

    x: int
    y: int = 2


def test_fields_are_given_by_name_and_have_defaults() -> None:
    point = Point(x=1)

    assert (1, 2) == (point.x, point.y)


def test_missing_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Point needs x"):
        Point(y=1)  # type: ignore[call-arg]


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Point has no z"):
        Point(x=1, z=1)  # type: ignore[call-arg]


def test_positional_value_is_refused() -> None:
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg]


def test_record_is_frozen() -> None:
    """Neither a field nor anything new can be set or deleted."""
    point = Point(x=1)

    for field in ("x", "z"):
        with pytest.raises(AttributeError, match=f"Point is frozen: {field}"):
            setattr(point, field, 2)
        with pytest.raises(AttributeError, match=f"Point is frozen: {field}"):
            delattr(point, field)
    assert Point(x=1) == point


def test_record_has_slots_and_no_dict() -> None:
    assert ("x", "y") == Point.__slots__
    assert not hasattr(Point(x=1), "__dict__")


def test_records_are_compared_by_type_and_value() -> None:
    assert Point(x=1) == Point(x=1, y=2)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Other(x=1)
    assert Point(x=1) != (1, 2)


def test_equal_records_have_equal_hashes() -> None:
    assert {Point(x=1)} == {Point(x=1), Point(x=1, y=2)}
    assert 2 == len({Point(x=1), Other(x=1)})


def test_repr_shows_type_and_fields() -> None:
    assert "Point(x=1, y='a b')" == repr(Point(x=1, y="a b"))  # type: ignore[arg-type]


def test_replace_leaves_the_original_as_it_is() -> None:
    point = Point(x=1)

    assert Point(x=1, y=3) == replace(point, y=3)
    assert Point(x=1) == point


def test_replace_refuses_a_field_that_there_is_not() -> None:
    with pytest.raises(TypeError, match="Point has no z"):
        replace(Point(x=1), z=1)
