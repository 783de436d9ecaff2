"""The embedding API, as a server would use it: streams, exit statuses, threads, pools, asyncio."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.container import BOUND_S, CONFIG, descriptors, merged, mounts, until, write_bundle
from tests.guests import build as guest_cache
from tests.guests import spt_build

import urunc
from urunc import aio

Make = Callable[..., Path]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="urunc-spt is written for x86-64"),
]


@pytest.fixture(scope="session")
def guests() -> dict[str, Path]:
    return spt_build.build(guest_cache.default_cache())


@pytest.fixture
def make(tmp_path: Path, guests: dict[str, Path]) -> Make:
    """Makes the bundle of a guest of tests/guests/spt."""

    def bundle(guest: str, *args: str, **changes: object) -> Path:
        keys = {"unikernelType": "mirage", "hypervisor": "spt", "binary": "/guest"}
        annotations = {f"com.urunc.unikernel.{key}": value for key, value in keys.items()}
        config = merged(merged(CONFIG, {"annotations": annotations, "process": {"args": list(args)}}), changes)
        return write_bundle(tmp_path / guest, {"guest": guests[guest]}, config)

    return bundle


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[urunc.Runtime]:
    """A runtime whose containers, mounts and descriptors must be gone after the test."""
    before, open_before = mounts(tmp_path), descriptors()
    made = urunc.Runtime(str(tmp_path / "root"), str(tmp_path / "config.toml"))
    yield made

    assert [] == list(made)
    assert before == mounts(tmp_path)
    assert open_before == descriptors()


def output_of(runtime: urunc.Runtime, bundle: Path, *args: str) -> tuple[int | None, str]:
    """Run the bundle with its output in a pipe; its exit status and what it said."""
    with (
        runtime.template(str(bundle)) as template,
        template.create("c", stdout=urunc.PIPE, stderr=urunc.STDOUT) as container,
    ):
        container.start(args)
        assert container.stdout is not None
        text = container.stdout.read(1 << 16).decode()
        return container.wait(BOUND_S), text


def test_a_container_has_the_streams_that_it_is_given(runtime: urunc.Runtime, make: Make) -> None:
    status, text = output_of(runtime, make("hello", "one", "two"))

    assert 0 == status
    assert text.startswith("hello: one two\n")


def test_start_takes_other_arguments(runtime: urunc.Runtime, make: Make) -> None:
    """The sandbox was made for those of the bundle; a container that was made elsewhere has no others."""
    bundle = make("hello", "one")
    with runtime.template(str(bundle)) as template, template.create("c", stdout=urunc.PIPE) as container:
        with pytest.raises(urunc.StateError, match="was made elsewhere"):
            runtime.get("c").start(("three",))
        container.start(("three", "four 5"))

        assert 0 == container.wait(BOUND_S)
        assert container.stdout is not None
        assert container.stdout.read(1 << 16).startswith(b"hello: three four\\ 5\n")


def test_standard_input_and_a_file_for_output(runtime: urunc.Runtime, make: Make, tmp_path: Path) -> None:
    """Our end of a pipe is not the container's: its reader sees the end when we close it."""
    bundle = make("hello", "one")
    with (
        (tmp_path / "output").open("wb") as output,
        runtime.template(str(bundle)) as template,
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


def test_arguments_after_the_template_is_closed_are_refused(runtime: urunc.Runtime, make: Make) -> None:
    with runtime.create("c", str(make("hello"))) as container:
        with pytest.raises(urunc.StateError, match="template has been closed"):
            container.start(("three",))
        container.start()

        assert 0 == container.wait(BOUND_S)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, 137)])
def test_the_life_of_a_container(runtime: urunc.Runtime, make: Make, number: int, status: int) -> None:
    container = runtime.create("c", str(make("wait", "sleep")), stdout=urunc.PIPE)

    assert "created" == container.state().status
    assert ["c"] == [entry.id for entry in runtime]
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


def test_a_container_is_paused_and_measured(runtime: urunc.Runtime, make: Make) -> None:
    with runtime.create("c", str(make("wait", "sleep"))) as container:
        container.start()
        container.pause()
        assert "paused" == container.state().status
        with pytest.raises(urunc.StateError, match="paused already"):
            container.pause()
        container.resume()
        assert "running" == container.state().status
        stats = container.stats()
        first = next(container.events(interval_ms=10))
        with pytest.raises(TypeError, match="has no bogus"):
            container.update(bogus=1)

    assert {"cpu", "memory", "pids"} <= set(stats)
    assert ("stats", "c") == (first["type"], first["id"])
    with pytest.raises(urunc.StateError, match="does not exist"):
        container.stats()


def test_limits_are_changed(runtime: urunc.Runtime, make: Make) -> None:
    with runtime.create("c", str(make("wait", "sleep"))) as container:
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
    runtime: urunc.Runtime, make: Make, annotations: dict[str, str] | None, kind: type[Exception], words: str
) -> None:
    bundle = make("hello", "x", annotations=annotations)

    with pytest.raises(kind, match=words):
        runtime.create("c", str(bundle))


def test_a_bundle_that_is_not_there(runtime: urunc.Runtime, tmp_path: Path) -> None:
    with pytest.raises(urunc.SpecError, match="no such file"):
        runtime.create("c", str(tmp_path / "nowhere"))


def test_an_id_that_is_taken(runtime: urunc.Runtime, make: Make) -> None:
    bundle = str(make("hello"))
    with runtime.create("c", bundle), pytest.raises(urunc.StateError, match="already exists: c"):
        runtime.create("c", bundle)


def test_threads_run_containers_at_once(runtime: urunc.Runtime, make: Make) -> None:
    with runtime.template(str(make("hello"))) as template, ThreadPoolExecutor(8) as threads:

        def one(number: int) -> int | None:
            with template.create(f"c{number}") as container:
                container.start()
                return container.wait(BOUND_S)

        assert [0] * 40 == list(threads.map(one, range(40)))


def test_the_caller_stays_as_it_is(runtime: urunc.Runtime, make: Make) -> None:
    """No setns, chdir or umask, and no child that nobody has waited for."""

    def self_view() -> tuple[object, ...]:
        spaces = [os.readlink(f"/proc/thread-self/ns/{name}") for name in sorted(os.listdir("/proc/self/ns"))]
        fields = ("Umask:", "SigBlk", "SigIgn", "SigCgt")  # SigQ counts what all processes of the user wait for
        masks = [line for line in Path("/proc/thread-self/status").read_text().splitlines() if line[:6] in fields]
        return spaces, os.getcwd(), masks, Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()

    before = self_view()
    output_of(runtime, make("hello"))

    assert before == self_view()


def test_a_pool_is_filled_again(runtime: urunc.Runtime, make: Make) -> None:
    with runtime.template(str(make("exit", "3"))) as template, runtime.pool(template, 2, prefix="warm") as pool:
        assert pool.await_full(BOUND_S)
        for status in (5, 0, 7):
            with pool.take() as container:
                assert container.id.startswith(f"warm-{os.getpid()}-")
                container.start((str(status),))

                assert status == container.wait(BOUND_S)
        assert pool.await_full(BOUND_S)


def test_a_sandbox_that_somebody_has_ended_is_not_given_out(runtime: urunc.Runtime, make: Make) -> None:
    with runtime.template(str(make("hello"))) as template, runtime.pool(template, 1) as pool:
        assert pool.await_full(BOUND_S)
        (ready,) = runtime
        ready.kill(signal.SIGKILL)
        until(lambda: ready.state().status == "stopped", "the waiting process has ended")

        with pool.take() as container:
            assert ready.id != container.id
            container.start()
            assert 0 == container.wait(BOUND_S)


def test_an_empty_pool_makes_one(runtime: urunc.Runtime, make: Make) -> None:
    with (
        runtime.template(str(make("hello"))) as template,
        runtime.pool(template, 0) as pool,
        pool.take() as container,
    ):
        container.start()

        assert 0 == container.wait(BOUND_S)


def test_asyncio_waits_for_many(runtime: urunc.Runtime, make: Make, tmp_path: Path) -> None:
    bundle = str(make("hello"))

    async def one(containers: aio.Runtime, number: int) -> int | None:
        async with await containers.create(f"c{number}", bundle) as container:
            await container.start()
            return await container.wait()

    async def all_of_them() -> list[int | None]:
        containers = aio.Runtime(str(tmp_path / "root"), str(tmp_path / "config.toml"))
        return await asyncio.gather(*(one(containers, number) for number in range(10)))

    assert [0] * 10 == asyncio.run(all_of_them())


def test_the_command_line_sees_the_same_containers(runtime: urunc.Runtime, make: Make, tmp_path: Path) -> None:
    from tests.container import PROGRAM, Runtime

    command = Runtime(PROGRAM, tmp_path)
    command.root = tmp_path / "root"
    container = runtime.create("c", str(make("exit", "4")))
    command.good("start", "c")

    assert 4 == container.wait(BOUND_S)
    command.good("delete", "c")
