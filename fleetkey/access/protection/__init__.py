"""What keeps guessing and floods from mattering."""
