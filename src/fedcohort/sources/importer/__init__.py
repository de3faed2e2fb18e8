"""The way of any source's records into a site's database: each written once, whatever happens meanwhile."""
