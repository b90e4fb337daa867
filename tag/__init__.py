"""Crowd tags (人群标签) and their members."""
