"""The embedding API, as a server would use it: streams, exit statuses, threads, pools."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.cgroups import NAME
from tests.container import BOUND_S, until
from tests.e2e.embedding import MakeBundle

import urunc

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]


def output_of(embedding: urunc.Runtime, bundle: Path, *args: str) -> tuple[int | None, str]:
    """Run the bundle with its output in a pipe; its exit status and what it said."""
    with (
        embedding.template(str(bundle)) as template,
        template.create("c", stdout=urunc.PIPE, stderr=urunc.STDOUT) as container,
    ):
        container.start(args)
        assert container.stdout is not None
        text = container.stdout.read().decode()  # to its end: a guest writes in pieces
        return container.wait(BOUND_S), text


def test_a_container_has_the_streams_that_it_is_given(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    status, text = output_of(embedding, spt_bundle("hello", "one", "two"))

    assert 0 == status
    assert text.startswith("hello: one two\n")


def test_start_takes_other_arguments(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    """The sandbox was made for those of the bundle; a container that was made elsewhere has no others."""
    bundle = spt_bundle("hello", "one")
    with embedding.template(str(bundle)) as template, template.create("c", stdout=urunc.PIPE) as container:
        with pytest.raises(urunc.StateError, match="was made elsewhere"):
            embedding.get("c").start(("three",))
        container.start(("three", "four 5"))

        assert 0 == container.wait(BOUND_S)
        assert container.stdout is not None
        assert container.stdout.read(1 << 16).startswith(b"hello: three four\\ 5\n")


def test_standard_input_and_a_file_for_output(embedding: urunc.Runtime, spt_bundle: MakeBundle, tmp_path: Path) -> None:
    """Our end of a pipe is not the container's: its reader sees the end when we close it."""
    bundle = spt_bundle("hello", "one")
    with (
        (tmp_path / "output").open("wb") as output,
        embedding.template(str(bundle)) as template,
        template.create("c", stdin=urunc.PIPE, stdout=output.fileno()) as container,
    ):
        assert container.stdin is not None
        directory = f"/proc/{container.state().pid}/fd"
        names = [os.readlink(f"{directory}/{number}") for number in sorted(os.listdir(directory), key=int)]
        ours = os.readlink(f"/proc/self/fd/{container.stdin.fileno()}")
        container.start()

        assert 0 == container.wait(BOUND_S)
    assert (1, str(tmp_path / "output"), os.devnull) == (names.count(ours), names[1], names[2])
    assert (tmp_path / "output").read_text().startswith("hello: one\n")


def test_arguments_after_the_template_is_closed_are_refused(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with embedding.create("c", str(spt_bundle("hello"))) as container:
        with pytest.raises(urunc.StateError, match="template has been closed"):
            container.start(("three",))
        container.start()

        assert 0 == container.wait(BOUND_S)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, 137)])
def test_the_life_of_a_container(embedding: urunc.Runtime, spt_bundle: MakeBundle, number: int, status: int) -> None:
    container = embedding.create("c", str(spt_bundle("wait", "sleep")), stdout=urunc.PIPE)

    assert "created" == container.state().status
    assert ["c"] == [entry.id for entry in embedding]
    container.start()
    assert container.stdout is not None
    assert b"waiting\n" == container.stdout.readline()  # from here on its monitor has a handler of SIGTERM
    state = container.state()
    assert ("running", True) == (state.status, state.pid > 0)
    assert container.wait(0) is None
    with pytest.raises(urunc.StateError, match="not stopped"):
        container.delete()
    container.kill(number)
    assert status == container.wait(BOUND_S)
    assert ("stopped", 0) == (container.state().status, container.state().pid)
    with pytest.raises(urunc.StateError, match="container not running"):
        container.kill(number)
    container.kill(number, if_running=True)
    container.delete()
    with pytest.raises(urunc.StateError, match="does not exist"):
        container.state()


def test_a_container_is_paused_and_measured(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with embedding.create("c", str(spt_bundle("wait", "sleep"))) as container:
        container.start()
        container.pause()
        assert "paused" == container.state().status
        with pytest.raises(urunc.StateError, match="paused already"):
            container.pause()
        container.resume()
        assert "running" == container.state().status
        stats = container.stats()
        first = next(container.events(interval_ms=10))
        with pytest.raises(TypeError, match="no limit bogus"):
            container.update(bogus=1)  # type: ignore[call-arg]

    assert {"cpu", "memory", "pids"} <= set(stats)
    assert ("stats", "c") == (first["type"], first["id"])
    with pytest.raises(urunc.StateError, match="does not exist"):
        container.stats()


def test_limits_are_changed(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with embedding.create("c", str(spt_bundle("wait", "sleep"))) as container:
        container.update(pids_limit=77)

        assert "'limit': 77" in str(container.stats()["pids"])


@pytest.mark.parametrize(
    ("annotations", "kind", "words"),
    [
        ({"com.urunc.unikernel.binary": "/nothing"}, urunc.UnikernelError, "binary /nothing"),
        ({"com.urunc.unikernel.hypervisor": "xen"}, urunc.UnikernelError, 'hypervisor "xen" is not supported'),
        (None, urunc.UnikernelError, "asks for no unikernel"),
    ],
)
def test_errors_have_kinds(
    embedding: urunc.Runtime,
    spt_bundle: MakeBundle,
    annotations: dict[str, str] | None,
    kind: type[Exception],
    words: str,
) -> None:
    bundle = spt_bundle("hello", "x", annotations=annotations)

    with pytest.raises(kind, match=words):
        embedding.create("c", str(bundle))


def test_a_bundle_that_is_not_there(embedding: urunc.Runtime, tmp_path: Path) -> None:
    with pytest.raises(urunc.SpecError, match="no such file"):
        embedding.create("c", str(tmp_path / "nowhere"))


def test_an_id_that_is_taken(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    bundle = str(spt_bundle("hello"))
    with embedding.create("c", bundle), pytest.raises(urunc.StateError, match="already exists: c"):
        embedding.create("c", bundle)


@pytest.mark.parametrize("watched", [False, True], ids=["one call", "step by step"])
def test_a_create_that_fails_leaves_nothing(
    embedding: urunc.Runtime, spt_bundle: MakeBundle, tmp_path: Path, watched: bool
) -> None:
    """Each way to make one; the id is free again, and the descriptors are those of before."""
    bundle = spt_bundle("hello", linux={"cgroupsPath": f"/{NAME}/taken"})
    root = tmp_path / "root"
    watching = urunc.Runtime(str(root), str(tmp_path / "config.toml"), str(tmp_path / "trace"))
    with (watching if watched else embedding).template(str(bundle)) as template:
        with template.create("first"):
            before = sorted(os.listdir("/proc/self/fd"))
            with pytest.raises(urunc.HostError, match="container's cgroup is not empty: 1 process"):
                template.create("c")

            assert ["first"] == [name for name in os.listdir(root) if name[0] not in ".@"]
            assert before == sorted(os.listdir("/proc/self/fd"))
        with template.create("c") as container:
            assert "created" == container.state().status


def test_threads_run_containers_at_once(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with embedding.template(str(spt_bundle("hello"))) as template, ThreadPoolExecutor(8) as threads:

        def one(number: int) -> int | None:
            with template.create(f"c{number}") as container:
                container.start()
                return container.wait(BOUND_S)

        assert [0] * 40 == list(threads.map(one, range(40)))


def test_the_caller_stays_as_it_is(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    """No setns, chdir or umask, and no child that nobody has waited for."""

    def self_view() -> tuple[object, ...]:
        spaces = [os.readlink(f"/proc/thread-self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))]
        fields = ("Umask:", "SigBlk", "SigIgn", "SigCgt")  # SigQ counts what all processes of the user wait for
        masks = [line for line in Path("/proc/thread-self/status").read_text().splitlines() if line[:6] in fields]
        return spaces, os.getcwd(), masks, Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()

    before = self_view()
    output_of(embedding, spt_bundle("hello"))

    assert before == self_view()


def test_a_pool_is_filled_again(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with (
        embedding.template(str(spt_bundle("exit", "3"))) as template,
        embedding.pool(template, 2, prefix="warm") as pool,
    ):
        assert pool.await_full(BOUND_S)
        for status in (5, 0, 7):
            with pool.take() as container:
                assert container.id.startswith(f"warm-{os.getpid()}-")
                container.start((str(status),))

                assert status == container.wait(BOUND_S)
        assert pool.await_full(BOUND_S)


def test_a_sandbox_that_somebody_has_ended_is_not_given_out(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with embedding.template(str(spt_bundle("hello"))) as template, embedding.pool(template, 1) as pool:
        assert pool.await_full(BOUND_S)
        (ready,) = embedding
        ready.kill(signal.SIGKILL)
        until(lambda: ready.state().status == "stopped", "the waiting process has ended")

        with pool.take() as container:
            assert ready.id != container.id
            container.start()
            assert 0 == container.wait(BOUND_S)


def test_an_empty_pool_makes_one(embedding: urunc.Runtime, spt_bundle: MakeBundle) -> None:
    with (
        embedding.template(str(spt_bundle("hello"))) as template,
        embedding.pool(template, 0) as pool,
        pool.take() as container,
    ):
        container.start()

        assert 0 == container.wait(BOUND_S)


def test_the_command_line_sees_the_same_containers(
    embedding: urunc.Runtime, spt_bundle: MakeBundle, tmp_path: Path
) -> None:
    from tests.container import PROGRAM, Runtime

    command = Runtime(PROGRAM, tmp_path)
    command.root = tmp_path / "root"
    container = embedding.create("c", str(spt_bundle("exit", "4")))
    command.good("start", "c")

    assert 4 == container.wait(BOUND_S)
    command.good("delete", "c")
