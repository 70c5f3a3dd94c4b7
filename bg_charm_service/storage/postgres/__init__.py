"""The engine for several machines: one PostgreSQL database, and the lease of its active node."""
