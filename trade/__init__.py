"""Teams, orders and promises: lock (锁单), settlement (结算), outbox."""
