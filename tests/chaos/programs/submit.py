"""Submits tasks that each leave a line in a file when they begin: FILE SIGNAL COUNT RETRIES HELD.

Task 60 tells of itself by the pipe SIGNAL and runs while there is a file HELD.
"""

import sys

from compute_nb import Executor


def work(number, lines, signal, held):
    import contextlib
    import os
    import time

    with open(lines, "a") as file:
        file.write(f"{number}\n")
    if number == 60:
        with contextlib.suppress(OSError):  # when it begins again, nobody waits at the other end any more
            pipe = os.open(signal, os.O_WRONLY | os.O_NONBLOCK)
            os.write(pipe, b"60\n")
            os.close(pipe)
        while os.path.exists(held):  # so that one at least runs when the kill comes
            time.sleep(0.01)
    time.sleep(0.02)
    return number * number


if __name__ == "__main__":
    lines, signal, count, retries, held = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    with Executor("local", retries=retries) as executor:
        futures = [executor.submit(work, number, lines, signal, held) for number in range(count)]
        print(executor.task_group_id, flush=True)
        for number, future in enumerate(futures):
            try:
                print(number, future.result(timeout=120), flush=True)
            except Exception as error:
                print(number, type(error).__name__, str(error).strip().splitlines()[-1], flush=True)
