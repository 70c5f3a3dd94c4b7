"""Integrations: what one is, which there are, and the processes in which they list charms.

`scanner.py` runs in the supervisor's process, `scan_process.py` in a process of each integration.
"""
