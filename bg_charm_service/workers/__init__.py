"""Worker processes, one folder for each side: `pool` supervises them, `runtime` is inside them.

`protocol` is what both sides say to each other, `sandbox` the walls around charm code.
"""
