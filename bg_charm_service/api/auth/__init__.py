"""Authentication and authorization: credentials, signatures, sessions, origins, peers."""
