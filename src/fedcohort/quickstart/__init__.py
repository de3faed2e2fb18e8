"""The shortest ways to begin: one flat configuration file, and the demo."""
