"""Reloads a task group in a process that knows nothing else and prints its results: GROUP."""

import sys

from compute_nb import Executor

if __name__ == "__main__":
    with Executor("local") as executor:
        for number, future in enumerate(executor.reload_tasks(sys.argv[1])):
            try:
                print(number, future.result(timeout=120), flush=True)
            except Exception as error:
                print(number, type(error).__name__, str(error).strip().splitlines()[-1], flush=True)
