"""How one site's vector is hidden from the coordinator while the sum is not."""
