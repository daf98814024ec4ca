"""What all pages share: the data passed to each page, and the frame around it."""
