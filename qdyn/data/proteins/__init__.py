"""Proteins as sequences of amino acids: from FASTA files and synthetic families; split by identity."""
