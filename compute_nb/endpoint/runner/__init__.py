"""This module is the program of a worker: it reads chunks of tasks from a pipe, runs them, writes results.

The folder travels alone. `PYTHON runner/__main__.py PARENT_PID` needs the standard library and dill, imports
nothing of compute_nb, and works on every Python from 3.8, so that any interpreter can be the worker of an
endpoint. In a worker its modules have the package name `_compute_nb_runner` (`__main__`), and the folder is
not on `sys.path`, so that user code with a `pipe.py` gets its own; they import each other relatively.

A frame is four bytes of length, big-endian, and that much UTF-8 JSON. The engine sends first

    {"slots": path, "cancel": word, "begun": double, "records": [word, word], "folder": path,
     "packages": path, "limit": characters, "memory": bytes or null, "preload": [module, ...]}

and then chunks, in which `code` and `forget` may be missing:

    {"chunk": serial, "record": 0 or 1, "function": id, "code": packed, "forget": function id,
     "options": {...}, "tasks": [[task id, packed args], ...]}

The worker answers, when it is up, a list with a text for each module that it could not import before, then
`[serial, index, ok, data, error code, started, ended]` for each task, and `[serial, begun]` for a chunk of
which the engine has taken the rest back.
"""
