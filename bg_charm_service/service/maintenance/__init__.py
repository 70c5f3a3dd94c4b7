"""Backups, health checks and pruning: what the service does for itself, beside the runs."""
