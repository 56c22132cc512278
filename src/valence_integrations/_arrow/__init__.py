"""Emotions as typed Arrow columns, and rows of tables: shared by datasets, Ray and the command line."""
