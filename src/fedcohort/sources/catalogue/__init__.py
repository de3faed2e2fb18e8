"""What is known of a site's data without its rows: declared columns, units, types, forms of identifiers."""
