"""A resident planner: the same containers, made without an interpreter of their own, or without it as before."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.container import BOUND_S, PROGRAM, children, read, until
from tests.e2e.embedding import MakeBundle
from tests.e2e.private import Private

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]


@pytest.fixture
def urunc(tmp_path: Path, subreaper: None) -> Iterator[Private]:
    runtime = Private(PROGRAM, tmp_path)
    with runtime.emptied():
        runtime.start_planner()
        yield runtime


def create(urunc: Private, bundle: Path, *options: object) -> None:
    urunc.good("create", "--bundle", bundle, "--pid-file", urunc.directory / "pid", *options, "c")


def test_a_container_by_the_planner(urunc: Private, spt_bundle: MakeBundle) -> None:
    """The process is a child of the caller's, with its streams; every later command is as ever."""
    create(urunc, spt_bundle("hello", "one", "two"))
    output, pid = urunc.output, int((urunc.directory / "pid").read_text())

    assert ["urunc planner: made"] == urunc.said()
    assert pid in children()
    assert "created" == urunc.status()
    urunc.good("start", "c")
    _, status = os.waitpid(pid, 0)
    assert 0 == status
    assert read(output).startswith("hello: one two\n")
    urunc.good("delete", "c")


def test_the_working_directory_is_the_bundle(urunc: Private, spt_bundle: MakeBundle) -> None:
    nsenter, space, *command = urunc.words("create", "--pid-file", "pid", "c")
    ended = urunc.run([nsenter, space, "env", "-C", str(spt_bundle("hello")), *command])

    assert (0, "") == (ended.returncode, ended.stderr)
    assert ["urunc planner: made"] == urunc.said()
    assert (urunc.directory / "hello" / "pid").read_text().isdecimal()


@pytest.mark.parametrize("log", [True, False])
def test_notices_reach_the_log(urunc: Private, spt_bundle: MakeBundle, tmp_path: Path, log: bool) -> None:
    """Without a log they go to standard error, which the planner does not have."""
    hosts = {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind", "ro"]}
    path = tmp_path / "log.json"
    options = ("--log", path, "--log-format", "json") if log else ()
    ended = urunc(*options, "create", "--bundle", spt_bundle("hello", mounts=[hosts]), "c")

    assert 0 == ended.returncode, ended.stderr
    assert log == ("urunc planner: made" in urunc.said())
    written = read(path) if log else ended.stderr
    assert "/etc/hosts" in written
    assert "warning" in written


def test_what_the_planner_refuses_says_why_as_ever(urunc: Private, spt_bundle: MakeBundle) -> None:
    """The front does it again without: the line is Python's own, and nothing is left."""
    bundle = spt_bundle("hello", annotations={"com.urunc.unikernel.binary": "/nothing"})
    ended = urunc("create", "--bundle", bundle, "c")

    assert 1 == ended.returncode
    assert "binary /nothing" in ended.stderr
    assert ["urunc planner: refused"] == [line.partition(":")[0] + ": refused" for line in urunc.said()]
    assert "gone" == urunc.status()


@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_containers_with_hooks_of_create_are_made_without_it(
    urunc: Private, spt_bundle: MakeBundle, stage: str
) -> None:
    create(urunc, spt_bundle("hello", hooks={stage: [{"path": "/bin/true"}]}))

    assert "refused" in urunc.said()[0]
    assert "created" == urunc.status()


def test_hooks_of_start_are_run_by_the_start_of_a_container_by_the_planner(
    urunc: Private, spt_bundle: MakeBundle
) -> None:
    """And a container is not started when one of them fails."""
    create(urunc, spt_bundle("hello", hooks={"startContainer": [{"path": "/none"}]}))
    started = urunc("start", "c")

    assert ["urunc planner: made"] == urunc.said()
    assert 1 == started.returncode
    assert "/none" in started.stderr


def test_options_that_the_planner_does_not_have_are_honoured_without_it(urunc: Private, spt_bundle: MakeBundle) -> None:
    ended = urunc("--debug", "create", "--bundle", spt_bundle("hello"), "c")

    assert 0 == ended.returncode
    assert [] == urunc.said()


def test_a_taken_id(urunc: Private, spt_bundle: MakeBundle) -> None:
    bundle = spt_bundle("hello")
    create(urunc, bundle)
    ended = urunc("create", "--bundle", bundle, "c")

    assert 1 == ended.returncode
    assert "container with given ID already exists: c" in ended.stderr
    assert "created" == urunc.status()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_without_a_planner_everything_is_as_before(urunc: Private, spt_bundle: MakeBundle, number: int) -> None:
    """One that was killed has left its socket, which the next one replaces."""
    bundle = spt_bundle("hello")
    urunc.end_planner(number)
    create(urunc, bundle)
    assert [] == urunc.said()
    urunc.good("delete", "c")

    urunc.start_planner()
    create(urunc, bundle)
    assert ["urunc planner: made"] == urunc.said()


def test_a_planner_that_hangs_is_given_up(urunc: Private, spt_bundle: MakeBundle) -> None:
    """After its time limit; what the stopped one has begun meanwhile is undone when it goes on."""
    assert urunc.planner is not None
    urunc.planner.send_signal(signal.SIGSTOP)
    try:
        create(urunc, spt_bundle("hello"))
    finally:
        urunc.planner.send_signal(signal.SIGCONT)
    until(urunc.said, "the planner finds that nobody waits")

    assert "refused" in urunc.said()[0]
    assert "created" == urunc.status()


def test_a_second_planner_is_refused(urunc: Private) -> None:
    ended = urunc("planner")

    assert 1 == ended.returncode
    assert "a planner serves /run/urunc/@planner already: end it first" in ended.stderr


def test_a_planner_of_another_build_is_not_asked(urunc: Private, spt_bundle: MakeBundle, tmp_path: Path) -> None:
    """A copy of the same bytes is another file, as after an upgrade."""
    copy = tmp_path / "urunc"
    copy.write_bytes(PROGRAM.read_bytes())
    copy.chmod(0o755)
    urunc.program = copy
    create(urunc, spt_bundle("hello"))

    assert ["urunc planner: refused: of another build of urunc, or of other namespaces"] == urunc.said()
    assert "created" == urunc.status()


def test_other_namespaces_are_not_served(urunc: Private, spt_bundle: MakeBundle) -> None:
    """What a path means there is not what it means here."""
    command = urunc.words("create", "--bundle", spt_bundle("hello"), "c")
    ended = urunc.run(["unshare", "--uts", *command[:2], "unshare", "--mount", *command[2:]])

    assert 0 == ended.returncode, ended.stderr
    assert "other namespaces" in urunc.said()[0]


def test_creates_at_once(urunc: Private, spt_bundle: MakeBundle) -> None:
    bundle = spt_bundle("hello")
    names = [f"c{number}" for number in range(12)]
    creates = [
        urunc.begin(urunc.words("create", "--bundle", bundle, name), stdout=subprocess.DEVNULL) for name in names
    ]

    assert [0] * len(names) == [process.wait(BOUND_S) for process in creates]
    assert ["urunc planner: made"] * len(names) == urunc.said()
    for name in names:
        urunc.good("delete", "--force", name)


def test_a_front_that_is_killed_leaves_nothing(urunc: Private, spt_bundle: MakeBundle) -> None:
    """At whatever instant: the planner notices, and undoes what it had ordered."""
    bundle = spt_bundle("hello")
    for delay in range(12):
        process = urunc.begin(urunc.words("create", "--bundle", bundle, "c"), stdout=subprocess.DEVNULL)
        try:
            process.wait(delay / 2000)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
        urunc.good("delete", "--force", "c")

        assert "gone" == urunc.status()
