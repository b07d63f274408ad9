"""The networks themselves: one self-contained file each, read from top to bottom."""
