"""A process that imports nothing of the package before the class under test: `python -m tests.support.fresh_process`.

Reads JSON from its input: modules to import first, and jobs, each the name of a public class ("first module of the
package > module of a class > class" for one of the libraries') and attempts to load something with it. Each job has a
fork of this process for itself, in which that class, or module, is the first thing of the package that is imported.

Writes JSON: for each job, for each attempt the class of the error (or "loaded"), its message, and what of the network
was asked for.
"""

import importlib
import json
import os
import sys

_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")


def main():
    request = json.load(sys.stdin)
    for name in request["imports"]:
        importlib.import_module(name)
    assert not any(name.partition(".")[0] == "ppdiffusers_ext" for name in sys.modules)
    pipes = []
    for job in request["jobs"]:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as file:
                json.dump(_run(job), file)
            os._exit(0)
        os.close(writing)
        pipes.append((child, reading))
    results = []
    for child, reading in pipes:
        with os.fdopen(reading) as file:
            results.append(json.load(file))
        os.waitpid(child, 0)
    json.dump(results, sys.stdout)


def _run(job):
    asked = []
    sys.addaudithook(lambda event, arguments: asked.append(event) if event in _NETWORK else None)
    results = []
    try:
        *first, module, name = ["ppdiffusers_ext", *job["class"].split(" > ")][-3:]
        for part in first:
            importlib.import_module(part)
        cls = getattr(importlib.import_module(module), name)
    except Exception as error:
        return [[type(error).__name__, str(error), asked]] * len(job["attempts"])
    for attempt in job["attempts"]:
        del asked[:]
        os.environ.update(attempt.get("environment", {}))
        try:
            loaded = getattr(cls, attempt.get("method", "from_pretrained"))(
                attempt["folder"], **attempt.get("options", {})
            )
            for part in attempt.get("load", ()):
                loaded._network(part).load()
            results.append(["loaded", "", list(asked)])
        except Exception as error:
            named = isinstance(error, importlib.import_module("ppdiffusers_ext.errors").InputError)
            results.append([type(error).__name__ if named else f"! {error!r}", str(error), list(asked)])
    return results


if __name__ == "__main__":
    main()
