"""How fast PixelLift is: `make bench` measures the real server, over HTTP, its sockets and Chromium, and prints a table.

Nothing here asserts, and no test depends on time. Each module measures one thing; `stage` sets the scene for all.
"""
