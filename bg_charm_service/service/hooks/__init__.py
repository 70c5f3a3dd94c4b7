"""What comes from outside, once it is known who sent it: stored, counted once, or made a poll."""
