"""The shopper pages in a real browser, when there is one."""
