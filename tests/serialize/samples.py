"""What travels in the tests of strategies: functions and values, and what is asked of them over there."""

import linecache
import sys

SAMPLES = '''
def scaled(x, by=2):
    """Colons: here, and {"there": 1}."""
    return {"a": x * by}


def greeted(name):
    return f"gr\\u00fc\\u00df dich, {name}: \\u2603 \U0001f600"


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def around(k):
    def add(x):
        return x + k

    return [add(i) for i in range(3)]


def later(*args, key, **others):
    text = """
:st
:not a part"""
    return [list(args), key, others, text]


class Tally:
    def __init__(self, x):
        self.x = x

    def doubled(self):
        return 2 * self.x


doubled = lambda x: 2 * x


def adder(k):
    return lambda x: x + k


add5 = adder(5)


def twice(function):
    import functools

    @functools.wraps(function)
    def wrapper(x):
        return function(function(x))

    return wrapper


@twice
def quadrupled(x):
    return 2 * x
'''
# name -> what is asked of it as `f`
BY_SOURCE = {
    "scaled": "f(21), f('x', by=3)",
    "greeted": "f('\u00fc')",
    "around": "f(3)",
    "later": "f(1, 2, key='k', z=[1])",
    "Tally": "f(3).doubled()",
}
BY_PICKLE = {**BY_SOURCE, "doubled": "f(4)", "add5": "f(1)", "quadrupled": "f(3)"}
CODE = {
    "DillCode": BY_PICKLE,
    "DillCodeTextInspect": {**BY_SOURCE, "factorial": "f(20)"},
    "DillCodeSource": {**BY_SOURCE, "factorial": "f(20)"},
    "CombinedCode": BY_SOURCE,
    "AllCodeStrategies": BY_SOURCE,
    "PureSourceTextInspect": {**BY_SOURCE, "factorial": "f(20)"},
    "PureSourceDill": {**BY_SOURCE, "factorial": "f(20)"},
}
JSON_VALUES = [
    None,
    True,
    2**70,
    -0.5,
    "",
    "gr\u00fc\u00df \u2603 \U0001f600 \udc80",
    [1, [2, {"a": "x\ny:z"}]],
    {"args": ["12\n34"]},
]
VALUES = [*JSON_VALUES, (1, 2), b"\0\xff" * 40, {1, 2}, {1: (2,), None: b""}, 1 + 2j, [[], []], range(3)]
DATA = {"DillDataBase64": VALUES, "JSONData": JSON_VALUES, "AllDataStrategies": [*JSON_VALUES, b"\0", {1}]}


def define():
    """The functions of SAMPLES, as if the file `samples.py` were this program."""
    sys.modules["__main__"].__file__ = "samples.py"  # where `inspect` looks for a class
    linecache.cache["samples.py"] = (len(SAMPLES), None, SAMPLES.splitlines(True), "samples.py")
    space = {"__name__": "__main__"}
    exec(compile(SAMPLES, "samples.py", "exec"), space)
    return space
