"""A pretend Alipay (模拟支付宝) for this machine: the real one's protocol, with keys of its own.

__main__.py  the server: gateway, payment page, knobs
trades.py    what it knows, in a SQLite file, so that it survives being killed
notices.py   the notifications, and how they go wrong when told to
"""
