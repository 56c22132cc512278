"""Typed Arrow columns of emotions, and helpers for Arrow tables; used by datasets, Ray and the command line."""
