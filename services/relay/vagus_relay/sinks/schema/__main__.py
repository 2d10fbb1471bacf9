"""`python -m vagus_relay.sinks.schema NAME` prints the SQL of the schema of that name."""

from vagus_relay.sinks.schema import main

if __name__ == "__main__":
    main()
