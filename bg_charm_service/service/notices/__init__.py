"""Telling people: what the service watches for that, the delivery of messages, the heartbeat."""
