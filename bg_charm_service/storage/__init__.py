"""Everything durable. `contract` says what an engine does, `engines` which there are.

Runs in the supervisor's process, and in the command line's while no service runs.
"""
