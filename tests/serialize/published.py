"""The published package as a process: run by an interpreter that has globus-compute-sdk, not by pytest.

PYTHON published.py --vectors > vectors.json    what it writes, for every strategy
PYTHON published.py                             one JSON request a line, one JSON answer a line
"""

import base64
import json
import pickle
import platform
import sys
import textwrap

import dill
import globus_compute_sdk
import samples
from globus_compute_sdk.serialize import ComputeSerializer, concretes


def asked(function, question):
    return json.loads(json.dumps(eval(question, {"f": function})))


def vectors():
    space = samples.define()
    for name, values in samples.DATA.items():
        for value in values:
            buffer = getattr(concretes, name)().serialize(value)
            yield {"strategy": name, "value": repr(value), "buffer": buffer}
    for name, questions in samples.CODE.items():
        for function, question in questions.items():
            buffer = getattr(concretes, name)().serialize(space[function])
            answer = asked(space[function], question)
            yield {
                "strategy": name,
                "function": function,
                "question": question,
                "answer": answer,
                "buffer": buffer,
            }
    old = "02\n" + base64.encodebytes(pickle.dumps(textwrap.dedent)).decode()  # it can't write this one
    yield {
        "strategy": "PickleCode",
        "function": "dedent",
        "question": "f('  x')",
        "answer": asked(concretes.PickleCode().deserialize(old), "f('  x')"),
        "buffer": old,
    }


def answer(request):
    allowed = request.get("allowed")
    serializer = ComputeSerializer(allowed_deserializer_types=allowed)
    if "packed" in request:
        function, args, kwargs = serializer.unpack_and_deserialize(request["packed"])
        return function(*args, **kwargs)
    if "write" in request:
        strategy = getattr(concretes, request["write"])()
        return strategy.serialize(samples.define()[request["function"]])
    value = serializer.deserialize(request["buffer"])
    if "question" in request:
        return asked(value, request["question"])
    return serializer.serialize_from_list(value, request["again"])


def main():
    if sys.argv[1:] == ["--vectors"]:
        about = {
            "globus-compute-sdk": globus_compute_sdk.__version__,
            "dill": dill.__version__,
            "python": ".".join(platform.python_version_tuple()[:2]),
        }
        json.dump({"made_by": about, "vectors": list(vectors())}, sys.stdout, indent=1)
        print()
        return
    for line in sys.stdin:
        try:
            reply = {"ok": answer(json.loads(line))}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
