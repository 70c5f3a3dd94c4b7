"""What is known of events beside their streams: what in them is secret, and who may send them."""
