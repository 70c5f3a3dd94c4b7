"""What happens to events between those who send them and the runs that get them."""
