"""The one loop: what is due is planned, claimed, sent to workers, and settled.

Runs in the supervisor's process; `loop.py` is where to begin.
"""
