"""What must hold when parts fail and many come at once: real processes, PostgreSQL and Redis of their own.

`tests/run chaos` runs everything at small size, `make chaos` at full size with a table of bars and what was measured.
"""
