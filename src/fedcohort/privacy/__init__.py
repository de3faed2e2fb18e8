"""What a study releases, what that costs in privacy, and the noise that pays for it."""
