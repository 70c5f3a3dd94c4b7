"""Sending notices: what is asked of the process that sends one, its client, and that process.

It runs behind walls as charms do, and alone loads the library that knows how targets are spoken to.
"""
