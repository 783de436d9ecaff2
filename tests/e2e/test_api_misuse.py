"""The embedding API in the hands of programs that are mistaken, fork, or have the descriptors of a large server."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.container import BOUND_S
from tests.e2e.embedding import MakeBundle

import urunc

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\0b", "x" * 256])
def test_an_id_is_the_name_of_a_directory(
    embedding: urunc.Runtime, spt_bundle: MakeBundle, tmp_path: Path, name: str
) -> None:
    """Else it would be one elsewhere."""
    before = set(tmp_path.rglob("*"))
    with embedding.template(str(spt_bundle("hello"))) as template:
        made = {*before, *tmp_path.rglob("hello"), *tmp_path.rglob("hello/**/*")}
        for action in (template.create, embedding.get, lambda prefix: embedding.pool(template, 1, prefix=prefix)):
            with pytest.raises(urunc.UsageError, match=r"container id|invalid container ID"):
                action(name)

    assert made == set(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("streams", "words"),
    [
        ({"stdin": urunc.STDOUT}, "stdin is no descriptor: -2: give one, PIPE or DEVNULL"),
        ({"stdout": urunc.STDOUT}, "stdout is no descriptor: -2"),
        ({"stdin": urunc.PIPE, "stderr": -9}, "stderr is no descriptor: -9: give one, PIPE, DEVNULL or STDOUT"),
    ],
)
def test_a_stream_that_is_none(
    embedding: urunc.Runtime, spt_bundle: MakeBundle, streams: dict[str, int], words: str
) -> None:
    with pytest.raises(urunc.UsageError, match=words):
        embedding.create("c", str(spt_bundle("hello")), **streams)  # type: ignore[arg-type]  # all of them integers


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memory_byte": 1}, "no limit memory_byte: the limits are memory_bytes"),
        ({"id": "other"}, "no limit id"),
        ({"memory_bytes": "5m"}, "memory_bytes is of type int, not str"),
        ({"cpuset_cpus": 0}, "cpuset_cpus is of type str, not int"),
    ],
)
def test_a_limit_that_is_none(
    embedding: urunc.Runtime, spt_bundle: MakeBundle, limits: dict[str, object], words: str
) -> None:
    with (
        embedding.create("c", str(spt_bundle("hello"))) as container,
        pytest.raises(TypeError, match=words),
    ):
        container.update(**limits)  # type: ignore[arg-type]  # that is what is tried


def test_a_template_that_is_closed_makes_no_more(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with embedding.template(str(spt_bundle("hello"))) as template:
        pass

    template.close()
    with pytest.raises(urunc.StateError, match="template has been closed"):
        template.create("c")


def test_a_bundle_that_is_refused_leaves_no_descriptor(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    """By then the guest's files are open."""
    bundle = str(spt_bundle("hello", linux={"seccomp": {"defaultAction": "SCMP_ACT_NOTHING"}}))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(urunc.SpecError, match="SCMP_ACT_NOTHING"):
        embedding.template(bundle)

    assert before == os.listdir("/proc/self/fd")


def test_everything_may_be_closed_twice(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    bundle = str(spt_bundle("hello"))
    with embedding.template(bundle) as template, embedding.pool(template, 1) as pool:
        with embedding.create("c", bundle, stdout=urunc.PIPE) as container:
            container.start()
            assert 0 == container.wait(BOUND_S)
            container.delete()
            container.delete(force=True)
        container.close()
        pool.close()

    assert (0, -1) == (container.wait(), container.fileno())


def test_the_end_of_a_deleted_container_is_not_that_of_its_namesake(
    embedding: urunc.Runtime, spt_bundle: MakeBundle
) -> None:
    bundle = str(spt_bundle("hello"))
    with embedding.create("c", bundle) as first:
        first.delete(force=True)
        namesake = embedding.create("c", bundle)

    with namesake:
        assert namesake.is_waiting()


def in_fork(action: Callable[[], object]) -> str:
    """What `action` returns or raises in a fork of this process."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(writer, str(action()).encode())
        except BaseException as error:  # noqa: BLE001  whatever it is, the parent says it
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read().decode()
    os.waitpid(pid, 0)
    return text


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_has_no_sandboxes_of_its_parents_pool(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    """It makes its own, and closing the pool there ends none."""
    with embedding.template(str(spt_bundle("hello"))) as template, embedding.pool(template, 1) as pool:
        assert pool.await_full(BOUND_S)

        def child() -> tuple[bool, int, int | None, bool]:
            with pool.take() as container:
                container.start()
                own = container.id.startswith(f"pool-{os.getpid()}-")
                status = container.wait(BOUND_S)
            pool.close()
            return own, len(pool), status, pool.await_full(0)

        assert str((True, 0, 0, False)) == in_fork(child)
        assert 1 == len(pool)
        with pool.take() as container:
            container.start()
            assert 0 == container.wait(BOUND_S)


def test_ten_thousand_descriptors_do_not_reach_the_container(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    if hard < wanted + 200:
        pytest.skip(f"the hard limit of descriptors is {hard}: a process cannot have {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    null = os.open(os.devnull, os.O_RDONLY)
    copies = [os.dup(null) for _ in range(wanted)]
    try:
        for fd in copies:
            os.set_inheritable(fd, True)
        with embedding.create("c", str(spt_bundle("wait", "sleep"))) as container:
            container.start()
            theirs = os.listdir(f"/proc/{container.state().pid}/fd")
    finally:
        for fd in (null, *copies):
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert len(theirs) < 10


def test_a_process_that_is_killed_leaves_its_sandboxes_to_the_next(
    embedding: urunc.Runtime, spt_bundle: MakeBundle, tmp_path: Path
) -> None:
    """As docs/how-to/embed.md ends them."""
    program = (
        "import signal, sys, urunc\n"
        "runtime = urunc.Runtime(*sys.argv[1:3])\n"
        "pool = runtime.pool(runtime.template(sys.argv[3]), 2, prefix='faas')\n"
        f"print(pool.await_full({BOUND_S}), flush=True)\n"
        "signal.pause()\n"
    )
    words = (str(tmp_path / "root"), str(tmp_path / "config.toml"), str(spt_bundle("hello")))
    with subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()

    assert "True\n" == line
    assert ["created", "created"] == [container.state().status for container in embedding]
    for container in embedding:
        if container.id.startswith("faas-"):
            container.delete(force=True)
