"""Values and pure policy: what everything else may import, and what imports nothing of ours."""
