"""Whatever user code does to its process: it ends as it should, and the next task finds all as it was."""

import pytest
from forgery import FORGE

from compute_nb.tasks import Outcome

DIED, ERROR, SUCCESS = Outcome.DIED, Outcome.ERROR, Outcome.SUCCESS
LOOK = """
def look():
    import locale, os, signal, sys, threading
    umask = os.umask(0o77)
    os.umask(umask)
    with open('/proc/self/cmdline' if os.path.exists('/proc/self') else os.devnull) as file:
        file.read()
    return {
        'environ': {
            name: value for name, value in os.environ.items()
            if not any(word in name for word in ('TASK', 'PYTEST', 'PARSL'))
        },
        'cwd': os.getcwd(),
        'argv': sys.argv[1:],
        'path': sys.path,
        'signals': [str(signal.getsignal(number)) for number in (1, 3, 10, 12, 13, 14, 15, 17)],
        'alarm': signal.getitimer(signal.ITIMER_REAL),
        'umask': umask,
        'locale': locale.setlocale(locale.LC_ALL),
        'recursion': sys.getrecursionlimit(),
        'streams': [type(one).__name__ for one in (sys.stdout, sys.stderr)],
        'prints': [print('a', end='', file=one, flush=True) for one in (sys.stdout, sys.stderr)],
        'writes': [os.write(number, b'b') for number in (1, 2)],
        'same': os.path.samestat(os.fstat(1), os.fstat(2)),
        'stdin': os.read(0, 1),
        'modules': [__import__(name).__name__ for name in ('os', 'json', 'builtins', 'traceback', 'struct')],
        'trace': (sys.gettrace(), sys.getprofile()),
        'blocked': sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
    }
"""
PROCESS_ONLY = "signal only works in main thread"  # what a task on a thread is told


def go(*lines: str) -> str:
    return "def go():\n    import os, sys, time\n" + "".join(f"    {line}\n" for line in lines)


FORK = "child = os.fork()"
CASES = {
    "returns from a fork": (go(FORK, "return child > 0"), SUCCESS, True),
    "raises in a fork": (
        go(FORK, "if not child: raise ValueError('in the child')", "return os.waitpid(child, 0)[1] >> 8"),
        SUCCESS,
        1,
    ),
    "exits in a fork": (
        go(FORK, "if not child: sys.exit(5)", "return os.waitpid(child, 0)[1] > 0"),
        SUCCESS,
        True,
    ),
    "leaves a child": (
        go("import subprocess", "subprocess.Popen(['sleep', '1000'])", "return 1"),
        SUCCESS,
        1,
    ),
    "daemonizes": (
        go(
            FORK,
            "if child: return os.waitpid(child, 0)[1]",
            "os.setsid()",
            "if os.fork(): os._exit(0)",
            "import signal",
            "signal.alarm(60)",
            "os.execvp('sleep', ['sleep', '30'])",
        ),
        SUCCESS,
        0,
    ),
    "changes its folder": (go("os.chdir('/')", "return os.getcwd()"), SUCCESS, "/"),
    "works in a folder that goes": (
        go("import tempfile", "path = tempfile.mkdtemp()", "os.chdir(path)", "os.rmdir(path)"),
        SUCCESS,
        None,
    ),
    "changes variables": (go("os.environ['PATH'] = '/nowhere'", "os.environ['SPOILT'] = '1'"), SUCCESS, None),
    "takes all variables": (go("os.environ.clear()", "return len(os.environ)"), SUCCESS, 0),
    "replaces os.environ": (go("os.environ = {'A': '1'}", "return len(os.environ)"), SUCCESS, 1),
    "calls sys.exit": (go("sys.exit(3)"), ERROR, "SystemExit: 3"),
    "calls os._exit": (go("os._exit(3)"), DIED, "ended with exit code 3"),
    "calls os.abort": (go("os.abort()"), DIED, "SIGABRT"),
    "raises BaseException": (go("raise BaseException('all')"), ERROR, "BaseException: all"),
    "raises KeyboardInterrupt": (go("raise KeyboardInterrupt"), ERROR, "KeyboardInterrupt"),
    "raises GeneratorExit": (go("raise GeneratorExit('g')"), ERROR, "GeneratorExit: g"),
    "raises a SystemExit of its own": (go("class Own(SystemExit): pass", "raise Own(4)"), ERROR, "Own: 4"),
    "raises what has no text": (
        go("class Own(Exception):", "    def __str__(self): raise ValueError('no')", "raise Own"),
        ERROR,
        "Own",
    ),
    "recurses for ever": (go("def deep(): return deep()", "deep()"), ERROR, "RecursionError"),
    "overflows the stack": (
        go("sys.setrecursionlimit(10**8)", "def deep(x): return sorted([x], key=deep)", "deep(1)"),
        DIED,
        "SIGSEGV",
    ),
    "changes the recursion limit": (go("sys.setrecursionlimit(123456)"), SUCCESS, None),
    "closes its output": (go("os.close(1)", "os.close(2)", "return 1"), SUCCESS, 1),
    "closes its streams": (
        go("sys.stdout.close()", "sys.stderr.close()", "sys.stdin.close()"),
        SUCCESS,
        None,
    ),
    "detaches its streams": (go("sys.stdout.detach()", "return 1"), SUCCESS, 1),
    "replaces its streams": (
        go("import io", "sys.stdout = sys.stderr = io.StringIO()", "print(1)"),
        SUCCESS,
        None,
    ),
    "redirects its output": (
        go("null = os.open(os.devnull, os.O_WRONLY)", "os.dup2(null, 1)", "return os.write(1, b'x')"),
        SUCCESS,
        1,
    ),
    "leaves half a line": (go("print('half', end='')"), SUCCESS, None),
    "leaves a thread that prints": (
        go(
            "import threading",
            "def talk():",
            "    for _ in range(2000):",
            "        print('from a thread')",
            "        time.sleep(0.001)",
            "threading.Thread(target=talk, daemon=False).start()",
        ),
        SUCCESS,
        None,
    ),
    "replaces signal handlers": (
        go(
            "import signal",
            "def mine(*args): pass",
            "for name in ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGCHLD'):",
            "    signal.signal(getattr(signal, name), mine)",
        ),
        (SUCCESS, ERROR),
        None,
    ),
    "blocks signals": (
        go("import signal", "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])"),
        SUCCESS,
        None,
    ),
    "leaves an alarm": (go("import signal", "signal.setitimer(signal.ITIMER_REAL, 30)"), SUCCESS, None),
    "damages sys.modules": (
        go(
            "for name in ('os', 'json', 'traceback', 'builtins', 'struct'): sys.modules.pop(name, None)",
            "raise KeyError(7)",
        ),
        ERROR,
        "KeyError: 7",
    ),
    "empties sys.modules": (go("sys.modules.clear()", "return 1"), SUCCESS, 1),
    "replaces a module": (go("sys.modules['json'] = None", "return 1"), SUCCESS, 1),
    "changes the mask of files": (go("return os.umask(0o777) >= 0"), SUCCESS, True),
    "changes the locale": (go("import locale", "locale.setlocale(locale.LC_ALL, 'C')"), SUCCESS, None),
    "traces": (go("sys.settrace(lambda *args: None)", "sys.setprofile(lambda *args: None)"), SUCCESS, None),
    "uses a pool of processes": (
        go(
            "import multiprocessing",
            "with multiprocessing.get_context('fork').Pool(2) as pool:",
            "    return pool.map(abs, [-1, -2, -3])",
        ),
        SUCCESS,
        [1, 2, 3],
    ),
    "leaves a pool of processes": (
        go(
            "import multiprocessing",
            "pool = multiprocessing.get_context('fork').Pool(2)",
            "sys.modules['json'].kept_pool = pool",
            "return pool.map(abs, [-1])",
        ),
        SUCCESS,
        [1],
    ),
}


@pytest.fixture(scope="module")
def before(engine):
    """What a task finds where none was before it."""
    found = engine.values(engine.submit(LOOK, *[((), {})] * 4))
    assert not [changed(one, found[0]) for one in found if changed(one, found[0])]
    return found[0]


def changed(found, before):
    """What is not as it was; of variables only those that differ."""
    differs = {name: (found[name], before[name]) for name in before if found[name] != before[name]}
    if "environ" in differs:
        one, other = (set(side["environ"].items()) for side in (found, before))
        differs["environ"] = sorted(one ^ other)
    return differs


@pytest.mark.parametrize("name", CASES)
def test_the_next_task_finds_all_as_it_was(engine, before, name):
    source, outcome, said = CASES[name]
    (result,) = engine.results(engine.submit(source))
    assert result.outcome in (outcome if isinstance(outcome, tuple) else (outcome,)), result.data
    if result.outcome is SUCCESS:
        assert engine.values_of([result]) == [said]
    elif isinstance(said, str):
        assert said in result.data
    found = engine.values(engine.submit(LOOK, *[((), {})] * 4))
    assert not [changed(one, before) for one in found if changed(one, before)]


MEET = """
def meet():
    import os, signal, sys, threading
    vars(sys).setdefault('meeting', threading.Barrier(2)).wait(60)  # so that each thread has one
    found = os.umask(0o777), sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])))
    sys.meeting.wait(60)
    return found
"""


def test_each_thread_finds_what_is_its_own_as_it_was(fresh):
    rig = fresh("threads")
    first, second = (rig.values(rig.submit(MEET, ((), {}), ((), {}))) for _ in range(2))
    assert first[0] == first[1]
    assert second == first


def test_threads_whose_process_tells_ends_that_are_none_are_started_anew(fresh):
    rig = fresh("threads")
    for text in ('[99, true, "", null, 1.0, 1.0]', '[[], true, "", null, 1.0, 1.0]', "[" * 100_000):
        assert rig.failure(FORGE, text).outcome is DIED
    assert rig.call("def same(x):\n    return x\n", 5) == 5
