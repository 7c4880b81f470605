"""The round trip on a server and a storage that you provide: `make test-compat` names them."""
