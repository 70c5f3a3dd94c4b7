"""The embedded engine: one SQLite database, with persist-queue's table for the jobs."""
