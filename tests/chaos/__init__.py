"""The fault suite: real processes, random shoppers, things that break, and a verdict at the end.

    PYTHONPATH=clients/python/src python -m tests.chaos --seconds 60 --seed 7

stack.py     which processes and services there are
cluster.py   three nodes of each service behind HAProxy, for --cluster (nodes.py: one of each kind)
faults.py    how each of them is broken, and repaired
receiver.py  the mall that is called back: records what it receives, misbehaves when told to
shoppers.py  people who lock, settle, repeat, refund, vanish and pay late, and what they remember
verdict.py   what must be true when everything is back and quiet
"""
