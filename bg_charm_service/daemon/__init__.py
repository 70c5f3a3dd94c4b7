"""The process that `bg-charm-service` starts without a command: settings, logs, ports, systemd.

Runs in the supervisor's process. Opens a service and serves its API.
"""
