"""The directories that workers may write to: made, measured, emptied. In the supervisor."""
