"""A task, for tests, that writes what it likes into the pipes of its worker."""

FORGE = (
    "def forge(text):\n    import os, stat, struct, threading\n    body = text.encode()\n"
    "    for fd in range(3, 20):\n"
    "        try:\n            if stat.S_ISFIFO(os.fstat(fd).st_mode):\n"
    "                os.write(fd, struct.pack('!I', len(body)) + body)\n"
    "        except OSError:\n            pass\n"
    "    threading.Event().wait(20)\n"
)
