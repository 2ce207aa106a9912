"""Step annotations from elsewhere: for each step of a solution, whether it is right."""
