"""Submits a few tasks twenty times a second until its standard input ends, then waits for all of them.

python steady.py LINES: each task adds its number to the file LINES; totals are printed as JSON.
"""

import json
import sys
import threading
from collections import Counter

from compute_nb import Executor
from compute_nb.errors import SubmitRefused


def work(number, lines):
    with open(lines, "a") as out:
        out.write(f"{number}\n")
    return number


ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
with Executor("local") as executor:
    futures = [executor.submit(work, 0, sys.argv[1])]
    print(futures[0].result(), flush=True)
    while not ended.wait(0.05):
        first = len(futures)
        futures += [executor.submit(work, number, sys.argv[1]) for number in range(first, first + 20)]
    totals = Counter()
    for number, future in enumerate(futures):
        try:
            totals["right" if future.result(60) == number else "wrong"] += 1
        except SubmitRefused:
            totals["refused"] += 1
        except Exception as error:
            totals[repr(error)] += 1
print(json.dumps({"submitted": len(futures), **totals}), flush=True)
