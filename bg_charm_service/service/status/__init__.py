"""What the service says of itself: one snapshot for log, page, API and command line."""
