"""Whether the answer of a worker can be true: its form, its sizes, the values in it."""
