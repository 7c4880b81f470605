"""Evidence for those who don't trust us: signed certificates, their chain, and what a month of them shows."""
