"""Queue and store in SQL, for every engine that is a relational database.

The texts are SQLite's; another engine's database translates them when it first meets each. What an
engine has of its own (sessions, schema, copies, checks of files) lies in its own folder.
"""
