"""What the end of a run means: for its job, for its charm, and for whoever is suspected."""
