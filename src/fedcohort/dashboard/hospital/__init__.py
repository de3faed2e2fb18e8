"""The page of a hospital, served by itself."""
