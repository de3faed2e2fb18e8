"""De-identification on the way into a site's database."""
