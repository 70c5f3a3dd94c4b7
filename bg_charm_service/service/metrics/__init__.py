"""What monitors read: numbers that are kept as things happen, and told when somebody asks."""
