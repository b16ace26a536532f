"""What a person has to type where we cannot push."""
