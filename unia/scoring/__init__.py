"""How good a prediction is: scores of label maps, of surfaces and of signals, and their intervals."""
