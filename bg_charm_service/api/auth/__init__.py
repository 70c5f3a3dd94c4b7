"""Who asks, and what they may: credentials, signatures, sessions, origins, peers."""
