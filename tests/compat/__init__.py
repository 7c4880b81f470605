"""The round trip on a server and a storage that somebody else runs: `make test-compat` names them."""
