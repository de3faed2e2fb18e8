"""What a researcher imports: connect or simulate, run, and look at results."""
