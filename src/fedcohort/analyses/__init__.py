"""Pure mathematics: each folder is one question as sums over patients, and what follows from the sums."""
