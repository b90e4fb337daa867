"""Notifications (回调): promises to malls, and their delivery.

Reading order: outbox (record, claim, send, retry), transports (what is sent), connections (HTTP),
rabbitmq (MQ), endpoints (send slots), nudges (prompt sending), events (the same notifications for
polling), replay (send again).
"""
