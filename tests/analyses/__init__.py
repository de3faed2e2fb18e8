"""Every analysis equals the same arithmetic on the pooled rows."""
