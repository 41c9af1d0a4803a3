"""One module a suite: it turns the lines of ``shapes/<suite>.txt`` into problems."""
