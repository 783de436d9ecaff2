"""The fallback runtime: which one it is, and what it is given."""

import os
from pathlib import Path

import pytest

from urunc import delegate
from urunc.errors import HostError
from urunc.request import Request


def executable(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with three directories for programs and nothing in them."""
    names = tuple(f"{tmp_path}/{directory}/{name}" for name in ("runc", "crun") for directory in ("a", "b", "c"))
    monkeypatch.setattr(delegate, "PLACES", names)
    return tmp_path


def test_runc_comes_before_crun_wherever_they_are(places: Path) -> None:
    executable(places / "a" / "crun")
    runc = executable(places / "c" / "runc")

    assert runc == delegate.find("", "")


def test_crun_serves_where_there_is_no_runc(places: Path) -> None:
    crun = executable(places / "b" / "crun")

    assert crun == delegate.find("", "")


def test_ourselves_under_the_name_runc_is_passed_over(places: Path) -> None:
    """By whatever link: a directory with `runc -> urunc` is how the shim finds us."""
    ourselves = executable(places / "urunc")
    (places / "a").mkdir()
    (places / "b").mkdir()
    (places / "a" / "runc").symlink_to(ourselves)
    os.link(ourselves, places / "b" / "runc")
    runc = executable(places / "c" / "runc")

    assert runc == delegate.find("", ourselves)


def test_a_machine_without_one_says_what_to_install(places: Path) -> None:
    with pytest.raises(HostError, match="install"):
        delegate.find("", "")


def test_what_the_configuration_names_comes_first(places: Path) -> None:
    executable(places / "a" / "runc")
    named = executable(places / "other" / "youki")

    assert named == delegate.find(named, "")


@pytest.mark.parametrize("kind", ["missing", "not executable", "ourselves", "a link to ourselves"])
def test_what_the_configuration_names_must_do(places: Path, kind: str) -> None:
    """No other one is taken silently in its place."""
    executable(places / "a" / "runc")
    ourselves = executable(places / "urunc")
    named = places / "named"
    if kind == "not executable":
        named.write_text("")
    elif kind == "a link to ourselves":
        named.symlink_to(ourselves)
    with pytest.raises(HostError, match="fallback runtime"):
        delegate.find(ourselves if kind == "ourselves" else str(named), ourselves)


def test_the_fallback_gets_the_command_line_as_it_came() -> None:
    """And our --root where the client gave none: its state must lie where we look for it."""
    words = ("--log", "/l", "create", "--bundle", "/b c", "x")
    given = ("--root", "/their root", "kill", "x", "9")

    assert ("/r", "--root", "/run/urunc", *words) == delegate.argv("/r", Request(verb="create", argv=words))
    # the client's own comes last, and the last one counts
    assert ("/r", "--root", "/their root", *given) == delegate.argv(
        "/r", Request(verb="kill", root="/their root", argv=given)
    )


def test_a_fallback_that_does_not_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="nope: no such file or directory"):
        delegate.execute(f"{tmp_path}/nope", Request(verb="state"))
