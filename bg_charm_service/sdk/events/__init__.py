"""What a class says of the events of its streams: their types, and who may send them."""
