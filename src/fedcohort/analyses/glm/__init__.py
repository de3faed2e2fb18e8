"""Generalised linear models over all hospitals: linear, logistic, Poisson, negative binomial."""
