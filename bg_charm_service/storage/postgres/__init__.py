"""The engine on PostgreSQL: one session, whose transactions are those of the storage contract."""
