"""Pure mathematics: each file is one family of sums over patients, and what follows from the sum."""
