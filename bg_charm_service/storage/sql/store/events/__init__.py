"""Tables about events that come from outside: which were there already, and who may send them."""
