"""Requests of charms, as they are recorded, and what answers say about limits and waits."""
