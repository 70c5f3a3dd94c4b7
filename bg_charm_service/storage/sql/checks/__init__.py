"""The checks of stored data, the same in every database; an engine brings those of its own."""
