"""CSV (RFC 4180 and what hospitals make of it) as a source of records."""
