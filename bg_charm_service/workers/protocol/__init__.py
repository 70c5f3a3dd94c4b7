"""What the supervisor and its workers say to each other: messages, framing, start tickets."""
