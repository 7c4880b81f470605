"""PostgreSQL's programs, throwaway servers and scratch databases."""
