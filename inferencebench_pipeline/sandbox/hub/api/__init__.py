"""The JSON routes of the Hub, one module per part of the protocol."""
