"""The fault suite: real processes, random shoppers, injected faults, and a verdict at the end.

    PYTHONPATH=clients/python/src python -m tests.chaos --seconds 60 --seed 7

stack.py     the processes and services of a run
cluster.py   three nodes of each service behind HAProxy, for --cluster (nodes.py: one of each kind)
faults.py    the faults, and how each is repaired
receiver.py  the mall's callback endpoint: records what it receives, and misbehaves on demand
shoppers.py  shoppers who lock, settle, repeat, refund, vanish and pay late, and their mall's books
mall.py      shoppers of the reference mall; books.py: the books of that mall and its Alipay
verdict.py   what must hold once everything is repaired and nothing is under way
"""
