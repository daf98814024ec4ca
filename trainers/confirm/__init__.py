"""Score the searched front on people that nothing has seen before."""
