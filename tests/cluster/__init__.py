"""A real Kubernetes cluster for tests and demos: `python3 -m tests.cluster up`.

Needs no more than Python's standard library. `__main__` lists the commands, `providers` says where a cluster comes
from, `local` shows how one is made from ordinary parts on a machine without Docker.
"""
