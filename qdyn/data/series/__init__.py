"""Time series as windows: of the published series, and of a table of your own."""
