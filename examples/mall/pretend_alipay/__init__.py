"""A pretend Alipay (模拟支付宝) for this machine: the real protocol, with keys of its own.

__main__.py  the server: gateway, payment page, knobs
trades.py    trades and refunds, in a SQLite file, so that they survive a kill
notices.py   the notifications, and the faults that the knobs add to them
"""
