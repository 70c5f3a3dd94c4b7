"""When charms are polled: what is due, at which pace, and by whose schedule."""
