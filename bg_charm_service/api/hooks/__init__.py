"""What senders outside reach: a listener of its own, which answers nothing but hooks."""
