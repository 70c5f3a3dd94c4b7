"""Packages of charms: finding versions, locking them, fetching them, and the folders they lie in.

All of it beside the service, in processes of their own that run uv. Knows nothing of charms, spaces
or the database.
"""
