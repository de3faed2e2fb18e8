"""A site's side: consent, the one exit for data, keys and the process."""
