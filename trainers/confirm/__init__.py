"""What people never seen before say of the searched front."""
