"""The demo of a round trip: throwaway servers, a sample database, and the real flows on them."""
