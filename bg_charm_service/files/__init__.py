"""What several folders do with files: have them on disk, and remove trees that nobody trusts."""
