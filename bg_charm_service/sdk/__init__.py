"""What authors of charms import; it runs in workers, beside their code."""
