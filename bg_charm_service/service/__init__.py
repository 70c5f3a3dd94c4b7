"""A service over a data directory: put together, asked, watched over and taken apart.

Runs in the supervisor's process, and in the command line's while no service runs.
"""
