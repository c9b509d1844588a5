"""Speed and memory of this project and of public peers: `python -m benchmarks NAME [--json FILE]`.

`harness.py` starts each contestant in a process of its own, one after the other; `contestant.py` is that process. The
other modules are the benchmarks: each one's docstring is its manual.
"""
