"""The process around an engine: forks, exec, the interpreter's end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from room import OPTIONS

import libsfu

HERE = Path(__file__).parent


def python(source: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own; it must end by itself."""
    program = "import libsfu, libsfu.aio, os, sys, threading, asyncio\nfrom room import OPTIONS, CODECS\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])}
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", *options, "-c", program + textwrap.dedent(source)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def ends_well(source: str, *options: str) -> str:
    run = python(source, *options)
    assert (run.returncode, run.stderr) == (0, ""), (run.returncode, run.stderr)
    return run.stdout


def test_row_084_the_interpreter_ends_with_engines_left_open() -> None:
    ends_well(
        """
        engines = [libsfu.Engine(OPTIONS) for _ in range(3)]
        kept = engines[0].create_router(CODECS)
        engines[1].on(libsfu.ObjectClosed, print)
        waiting = threading.Thread(target=lambda: list(engines[2].media), daemon=True)
        waiting.start()
        reading = threading.Thread(target=lambda: list(engines[0].events()), daemon=True)
        reading.start()
        """
    )


def test_row_084_the_interpreter_ends_with_an_engine_of_asyncio_left_open() -> None:
    ends_well(
        """
        async def main():
            global engine
            engine = await libsfu.aio.Engine(OPTIONS).start()
            global router
            router = await engine.create_router(CODECS)
        asyncio.run(main())
        """
    )


def test_row_084_the_interpreter_ends_while_threads_call() -> None:
    ends_well(
        """
        engine = libsfu.Engine(OPTIONS)
        router = engine.create_router(CODECS)
        began = threading.Semaphore(0)
        def work():
            began.release()
            try:
                while True:
                    router.dump()
            except libsfu.ClosedError:
                pass
        for _ in range(8):
            threading.Thread(target=work, daemon=True).start()
        for _ in range(8):
            began.acquire()
        """
    )


def test_row_084_an_exception_that_nobody_catches_ends_as_always() -> None:
    run = python("engine = libsfu.Engine(OPTIONS)\nraise RuntimeError('mine')\n")
    assert run.returncode == 1 and run.stderr.strip().endswith("RuntimeError: mine")


def test_row_077_engines_close_from_atexit_in_any_order() -> None:
    out = ends_well(
        """
        import atexit
        engine = libsfu.Engine(OPTIONS)
        atexit.register(lambda: (engine.close(), print("closed")))
        """
    )
    assert out == "closed\n"


def test_row_077_a_forked_child_is_told_and_its_parent_goes_on() -> None:
    out = ends_well(
        """
        engine = libsfu.Engine(OPTIONS)
        router = engine.create_router(CODECS)
        subscription = engine.events()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            for call in (
                engine.dump, router.close, subscription.get, engine.close, engine.events,
                lambda: engine.media.send([(1, b"x")]), engine.media.receive,
                lambda: libsfu.Engine(OPTIONS), lambda: engine.on(libsfu.ObjectClosed, print),
                lambda: asyncio.run(libsfu.aio.Engine(OPTIONS).start()),
            ):
                try:
                    call()
                    print("went through", call)
                except libsfu.ForkedError as error:
                    assert str(os.getppid()) in error.message and "spawn" in error.message
                    print("told")
            sys.exit(0)  # With everything that an interpreter does at its end.
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert router.dump().id == router.id
        engine.close()
        print("parent")
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert out.split() == ["told"] * 10 + ["parent"]


def test_row_077_a_child_may_have_engines_if_its_parent_had_none() -> None:
    out = ends_well(
        """
        sys.stdout.flush()
        child = os.fork()
        with libsfu.Engine(OPTIONS) as engine:
            assert engine.dump().version
        if child == 0:
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        """
    )
    assert out == "0\n"


def test_row_077_a_forked_child_may_leave_the_block() -> None:
    ends_well(
        """
        with libsfu.Engine(OPTIONS) as engine:
            with engine.create_router(CODECS) as router:
                child = os.fork()
                if child == 0:
                    sys.exit(0)
                assert os.waitpid(child, 0)[1] == 0
                assert router.dump().id == router.id
        """,
        "-W",
        "ignore::DeprecationWarning",
    )


def test_row_114_a_program_that_is_run_inherits_no_descriptor() -> None:
    listing = "import os; print(*sorted(int(f) for f in os.listdir('/proc/self/fd')))"
    # What a child of this process has anyway, before and beside an engine.
    command = [sys.executable, "-c", listing]
    before = subprocess.run(command, capture_output=True, text=True, close_fds=False, check=True).stdout
    with libsfu.Engine(OPTIONS) as engine:
        engine.dump()
        during = subprocess.run(command, capture_output=True, text=True, close_fds=False, check=True).stdout
    assert during == before


def test_row_114_closing_gives_every_descriptor_and_thread_back() -> None:
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    with libsfu.Engine(OPTIONS) as engine:
        engine.dump()
    before = held()
    for _ in range(5):
        with libsfu.Engine(OPTIONS) as engine:
            engine.on(libsfu.ObjectClosed, print)
            engine.dump()
    # A shard's thread tells that it has ended as the last thing it does, so that its own end may follow.
    until = time.monotonic() + 30
    while not settled(held(), before) and time.monotonic() < until:
        time.sleep(0.01)
    assert settled(held(), before)


def settled(now: tuple[int, int], before: tuple[int, int]) -> bool:
    return now[0] <= before[0] and now[1] <= before[1]


def test_row_114_signals_stay_the_program_s_own() -> None:
    import signal

    numbers = (signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    with libsfu.Engine(OPTIONS) as engine:
        engine.dump()
        assert [signal.getsignal(number) for number in numbers] == before
    assert [signal.getsignal(number) for number in numbers] == before


def test_h35_limits_that_are_too_low_are_told_before_anything_starts() -> None:
    out = ends_well(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
        try:
            libsfu.Engine(OPTIONS)
        except libsfu.StartError as error:
            print(error.code.name, error.message)
        """
    )
    assert out.startswith("START_FILE_LIMIT_TOO_LOW") and "24" in out


def test_nobody_spins_while_an_engine_is_idle() -> None:
    # Processor time of the package's own threads, over a while in which nothing happens.
    out = ends_well(
        """
        import pathlib, select
        def ticks():
            total = 0
            for task in pathlib.Path("/proc/self/task").iterdir():
                if (task / "comm").read_text().startswith(("python", "libsfu")):
                    fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
                    total += int(fields[11]) + int(fields[12])
            return total
        with libsfu.Engine(OPTIONS) as engine:
            engine.on(libsfu.ObjectClosed, print)
            engine.dump()
            before = ticks()
            select.select([], [], [], 1.0)
            print(ticks() - before)
        """
    )
    assert int(out) <= 5
