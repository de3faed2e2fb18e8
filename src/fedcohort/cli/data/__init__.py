"""`fedcohort data …`: a site's own database."""
