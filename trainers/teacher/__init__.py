"""The teacher: Ray Train round the loop, and its answers, stored."""
