"""What a reader sees of an evaluation: table, headline, figures and the HTML report."""
